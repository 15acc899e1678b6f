// Bringing a copy back into a volume in use at the operator's word: what is left of its earlier life here is let go, its
// devices are opened anew, it is judged (I6), and then caught up like one that was at hand at the mount (I7, I8).

import { messageOf } from "../base/thrown.ts";
import type { Copy } from "../copies/copy.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { CopiesError } from "../copies/errors.ts";
import { freshCopy, openCopy, readReturning, sharesDevice } from "../copies/reopen.ts";
import type { Ring, RingRoot } from "../copies/ring.ts";
import { abandonTarget, closeTargets, openTargets } from "../copies/targets.ts";
import { rootVersion, setRootCounters } from "../format/root-block.ts";
import { rootLastSeen } from "../format/root-members.ts";
import type { Volume } from "../volume/volume.ts";
import type { Caretaker } from "./caretaker.ts";
import { refuseLeaving, LastWord } from "./meanwhile.ts";
import { inTime, letGo } from "./take-out.ts";
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
  const fresh = await reopened(volume, old, index, options.target);
  const isOpened = fresh.device !== old?.device;
  const ring = await readReturning(fresh, volume.copies, liveRoot(volume), isOpened);
  try {
    word.refuseOther(old);
  } catch (error) {
    if (isOpened) abandonTarget({ name: fresh.name, devices: [fresh.device] });
    throw error;
  }
  await rejoin(volume, caretaker, fresh, ring, options);
}

/** Has `fresh`, which was judged by its ring, take the place of what was the copy until now, and be caught up. */
export async function rejoin(
  volume: Volume,
  caretaker: Caretaker,
  fresh: Copy,
  ring: Ring,
  options: TakeBackOptions,
): Promise<void> {
  const old = volume.copies.copy(fresh.index);
  if (old !== undefined) {
    setRootCounters(volume.rootImage.view, old.index, { ...old.errors, repaired: old.repaired });
    // Its devices are closed, or another's.
    old.released = true;
    volume.copies.remove(old);
  }
  volume.copies.add(fresh);
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

async function reopened(volume: Volume, old: Copy | undefined, index: number, target?: string): Promise<Copy> {
  const known = old?.name ?? rootLastSeen(volume.rootImage.view, index)?.target ?? "";
  // The hint in the root keeps only the end of a long path.
  if (target === undefined && (known === "" || known.startsWith("…"))) {
    throw new CopiesError("missing-copy", `copy ${index}`, "nothing tells where it is; give its TARGET");
  }
  if (old !== undefined && target === undefined) await refuseAbsentNode(old, volume.copies);
  if (old !== undefined) await letGo(old, volume.copies.clock);
  if (old !== undefined && target === undefined && sharesDevice(old)) return freshCopy(old);
  return openCopy(volume.copies, index, target ?? known);
}

/** A suspended node that is not there again: the others are not let go of for it, as they are read in need. Throws as opening it does. */
async function refuseAbsentNode(copy: Copy, set: CopySet): Promise<void> {
  const node = copy.suspendedNode === undefined || copy.released ? undefined : copy.targets[copy.suspendedNode];
  if (node === undefined) return;
  const limit = { clock: set.clock, ms: set.deadlineMs };
  const opened = await openTargets([node], { writable: true, limit, open: set.open });
  await inTime(copy, closeTargets(opened), set.clock);
}

/** What the volume is now, as the root of a ring, to judge others by. */
export function liveRoot(volume: Volume): RingRoot {
  const { bytes, view } = volume.rootImage;
  return { image: bytes, view, sequence: volume.sequence, version: rootVersion(view) };
}
