// Bringing a copy back into a volume in use at the operator's word: what is left of its earlier life here is let go, its
// devices are opened anew, it is judged (I6), and then caught up like one that was at hand at the mount (I7, I8).

import { messageOf } from "../base/thrown.ts";
import { letGo as letGoOfTargets } from "../copies/assemble.ts";
import type { Copy } from "../copies/copy.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { CopiesError } from "../copies/errors.ts";
import { isMember } from "../copies/membership.ts";
import { freshCopy, onDeviceOf, openCopy, type Opened, readReturning } from "../copies/reopen.ts";
import type { Ring, RingRoot } from "../copies/ring.ts";
import { abandonTarget, closeTargets, openTargets } from "../copies/targets.ts";
import { MemberFlag } from "../format/last-seen.ts";
import { rootCounters, rootVersion, setRootCounters } from "../format/root-block.ts";
import { rootLastSeen, rootMemberFlags } from "../format/root-members.ts";
import type { Volume } from "../volume/volume.ts";
import type { Caretaker } from "./caretaker.ts";
import { refuseLeaving, LastWord } from "./meanwhile.ts";
import { inTime, letGo, letGoOfOffline } from "./take-out.ts";
import type { TakeBackOptions } from "./take-back.ts";

export interface BringBackOptions extends TakeBackOptions {
  /** Where it is now; where it was last seen unless given. */
  readonly target?: string;
}

/** One copy is brought back at a time: the operator's word may come while it is being tried without. */
const turns = new WeakMap<Volume, Promise<void>>();

/** Resolves when copy `index` is being caught up, or is in sync already. Throws DeviceError or CopiesError. */
export function bringBack(
  volume: Volume,
  caretaker: Caretaker,
  index: number,
  options: BringBackOptions = {},
): Promise<void> {
  const word = new LastWord(volume, index);
  return inTurn(volume, () => broughtBack(volume, caretaker, index, word, options));
}

/** Does `work`, in which a copy is opened or made anew, after that of everybody who came before. */
export function inTurn(volume: Volume, work: () => Promise<void>): Promise<void> {
  const before = turns.get(volume) ?? Promise.resolve();
  const turn = before.catch(() => undefined).then(work);
  turns.set(volume, turn);
  return turn;
}

async function broughtBack(
  volume: Volume,
  caretaker: Caretaker,
  index: number,
  word: LastWord,
  options: BringBackOptions,
): Promise<void> {
  // A copy that has just failed is dropped by this, and no commit is half way when it is looked at.
  await volume.changeMembers(() => undefined);
  // The mount may be taking it back by itself: when that is over, it is being caught up.
  if (volume.copies.copy(index)?.active !== true) await caretaker.stop(index);
  refuseLeaving(volume, index);
  const old = volume.copies.copy(index);
  if (old?.standing === "in-sync") return;
  if (old?.standing === "syncing") return goOn(volume, caretaker, old, options);
  const comeBack = (): Promise<void> => cameBack(volume, caretaker, index, word, options);
  await (old === undefined ? comeBack() : whileReturning(old, volume.copies, comeBack));
}

/** Does `work`, in which `old` is brought back; those on its device that are taken out meanwhile are let go of after that. */
async function whileReturning(old: Copy, set: CopySet, work: () => Promise<void>): Promise<void> {
  const together = onDeviceOf(old, set);
  old.returning = true;
  try {
    await work();
  } finally {
    old.returning = false;
    const isOut = ({ standing, suspendedNode }: Copy): boolean => standing === "offline" && suspendedNode === undefined;
    const out = together.find((other) => other !== old && set.copy(other.index) === other && isOut(other));
    if (out !== undefined && !out.released) await letGoOfOffline(out, set).catch(() => undefined);
  }
}

async function cameBack(
  volume: Volume,
  caretaker: Caretaker,
  index: number,
  word: LastWord,
  options: BringBackOptions,
): Promise<void> {
  const old = volume.copies.copy(index);
  const { copy: fresh, others, isOpened } = await reopened(volume, caretaker, index, options.target);
  const opened = isOpened ? [fresh, ...others] : [];
  const ring = await claimed(volume, fresh, { word, old }).catch(async (error: unknown) => {
    const targets = opened.map(({ name, device }) => ({ name, devices: [device] }));
    await letGoOfTargets(targets, error);
    throw error;
  });
  // It goes on elsewhere than the others on its device.
  if (isOpened && old !== undefined && !old.released) abandonTarget({ name: old.name, devices: [old.device] });
  for (const other of others) takeOpenedDevice(volume, other);
  await rejoin(volume, caretaker, fresh, ring, options);
}

/** What a copy was when it was begun with, and that this is the last word on it. */
interface Begun {
  readonly word: LastWord;
  readonly old: Copy | undefined;
}

/**
 * Makes sure that `fresh`, which comes in the place of `old`, is nobody else's (I11), then judges it by its ring, which is returned. Throws
 * CopiesError or DeviceError when it can't come back; then it is nobody's, and its devices are still open.
 */
export async function claimed(volume: Volume, fresh: Copy, { word, old }: Begun): Promise<Ring> {
  const judge = (): Promise<Ring> => readReturning(fresh, volume.copies, liveRoot(volume));
  try {
    // One that may not come back is left as it is, for whoever goes on with it.
    if (!fresh.device.exclusive) await judge();
    await volume.admit(fresh);
    const ring = await judge();
    word.refuseOther(old);
    return ring;
  } catch (error) {
    await volume.dismiss(fresh);
    throw error;
  }
}

/** The device of `copy` was opened for another one that lies on it. If it is out, it has that device from now on, and stays out. */
function takeOpenedDevice(volume: Volume, copy: Copy): void {
  const { view } = volume.rootImage;
  const old = volume.copies.copy(copy.index);
  if (!isMember(view, copy.index, copy.uuid) || old?.released === false) {
    void copy.close();
    return;
  }
  const flags = rootMemberFlags(view, copy.index);
  const absent =
    (flags & MemberFlag.LEAVING) !== 0 ? "leaving" : (flags & MemberFlag.OFFLINE) !== 0 ? "offline" : "faulted";
  copy.standing = old?.standing ?? absent;
  copy.reason = old?.reason ?? "its device was not here";
  takePlace(volume, copy);
  copy.restoreCounters(rootCounters(view, copy.index));
}

/** `fresh` is the copy from now on. */
function takePlace({ copies, rootImage }: Volume, fresh: Copy): void {
  const old = copies.copy(fresh.index);
  if (old !== undefined) {
    setRootCounters(rootImage.view, old.index, old.counters);
    // Its devices are closed, or another's.
    old.released = true;
    copies.remove(old);
  }
  copies.add(fresh);
}

/** Has `fresh`, which was judged by its ring, take the place of what was the copy until now, and be caught up. */
export async function rejoin(
  volume: Volume,
  caretaker: Caretaker,
  fresh: Copy,
  ring: Ring,
  options: TakeBackOptions,
): Promise<void> {
  takePlace(volume, fresh);
  const was = fresh.standing;
  try {
    await caretaker.takeBack(ring, options);
  } catch (error) {
    // Unless that was because something else was done with it.
    if (fresh.standing === was) fresh.standing = "faulted";
    fresh.reason = messageOf(error);
    throw error;
  }
}

/** A copy that is being caught up, or should be: with `noAnchor`, or after it stopped, it is begun again. */
async function goOn(volume: Volume, caretaker: Caretaker, copy: Copy, options: BringBackOptions): Promise<void> {
  const isUnderWay = caretaker.catchUps.get(copy.index)?.end === undefined;
  if (isUnderWay && options.noAnchor !== true) return;
  await caretaker.stop(copy.index);
  const ring = volume.rings.ring(copy.index);
  if (ring !== undefined && copy.standing === "syncing") await caretaker.takeBack(ring, options);
}

/** `isOpened`: its devices were opened for that, and are not those that it had. */
type Reopened = Opened & { readonly isOpened: boolean };

async function reopened(volume: Volume, caretaker: Caretaker, index: number, target?: string): Promise<Reopened> {
  const set = volume.copies;
  const old = set.copy(index);
  const known = old?.name ?? rootLastSeen(volume.rootImage.view, index)?.target ?? "";
  // The hint in the root keeps only the end of a long path.
  if (target === undefined && (known === "" || known.startsWith("…"))) {
    throw new CopiesError("missing-copy", `copy ${index}`, "nothing tells where it is; give its TARGET");
  }
  if (old !== undefined && target === undefined) await refuseAbsentNode(old, set);
  if (old !== undefined) {
    const together = onDeviceOf(old, set);
    // One that is just being taken back is in use after that, or out.
    for (const other of together) if (!needsDevice(other)) await caretaker.stop(other.index);
    if (together.some(needsDevice)) {
      await inTime(old, old.drained(), set.clock);
      if ((target ?? old.name) === old.name) return { copy: freshCopy(old), others: [], isOpened: false };
    } else await letGo(together, set.clock);
  }
  return { ...(await openCopy(set, index, target ?? known)), isOpened: true };
}

/** Nobody may close its device now: it is in use, or what it alone holds is being brought to others. */
const needsDevice = ({ active, standing }: Copy): boolean => active || standing === "leaving";

/** A suspended node that is not there again: the others are not let go of for it, as they are read in need. Throws as opening it does. */
async function refuseAbsentNode(copy: Copy, set: CopySet): Promise<void> {
  const node = copy.suspendedNode === undefined || copy.released ? undefined : copy.targets[copy.suspendedNode];
  if (node === undefined) return;
  const limit = { clock: set.clock, ms: set.deadlineMs };
  const opened = await openTargets([node], { writable: true, limit, open: set.open });
  await inTime(copy, closeTargets(opened), set.clock);
}

/** What the volume is now, as the root of a ring, to judge others by. */
function liveRoot(volume: Volume): RingRoot {
  const { bytes, view } = volume.rootImage;
  return { image: bytes, view, sequence: volume.sequence, version: rootVersion(view) };
}
