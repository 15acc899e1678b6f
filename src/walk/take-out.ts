// Taking a copy out of a volume in use at the operator's word: no block or root goes to it from the next commit on, under a
// new epoch (I2), and then its devices are let go, so that the medium can be taken away.

import type { Clock } from "../base/clock.ts";
import { settle } from "../base/settle.ts";
import { withinLimit } from "../base/time-limit.ts";
import type { Copy } from "../copies/copy.ts";
import { CopiesError } from "../copies/errors.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { onDeviceOf } from "../copies/reopen.ts";
import type { Volume } from "../volume/volume.ts";
import type { Caretaker } from "./caretaker.ts";
import { positionsOf } from "./freeze.ts";

const CLOSE_MS_MAX = 10_000;

export interface TakeOutOptions {
  /** It does not come back by itself at later mounts either. */
  readonly lasting: boolean;
  /** Only the device of the node at this position is let go of: what lies on the others can still be read in need. */
  readonly node?: number;
}

/** Takes copy `index` out. Throws CopiesError when the volume can't do without it; then nothing has changed. */
export async function takeOut(
  volume: Volume,
  caretaker: Caretaker,
  index: number,
  options: TakeOutOptions,
): Promise<void> {
  const { node } = options;
  let copy: Copy | undefined;
  await volume.changeMembers(() => {
    // Another one may have taken its place until now.
    copy = volume.copies.copy(index);
    refuseTakeOut(volume, index, node);
    volume.members.takeOut(index, options.lasting);
    // At once: what lies on its other nodes is given to whoever asks, however long the commit takes, and if it fails (I9).
    if (node !== undefined && copy !== undefined && copy.nodes.length > 1) copy.suspendedNode = node;
  });
  if (copy === undefined) return;
  await caretaker.stop(index);
  if (node === undefined || copy.suspendedNode !== node) await letGoOfOffline(copy, volume.copies);
  else await inTime(copy, Promise.allSettled([copy.nodes[node]?.device.close()]), volume.copies.clock);
}

/** Throws CopiesError when the volume can't do without the copy, or there is no such node to let go of. */
function refuseTakeOut(volume: Volume, index: number, node: number | undefined): void {
  const copy = volume.copies.copy(index);
  if (copy === undefined) {
    if (node === undefined) return;
    throw new CopiesError("missing-copy", `copy ${index}`, "is not here; none of its nodes is in use");
  }
  positionsOf(copy, node);
  const { suspendedNode } = copy;
  if (node !== undefined && suspendedNode !== undefined && suspendedNode !== node)
    throw new CopiesError(
      "suspended",
      copy.name,
      `node ${index}/${suspendedNode} is suspended already; suspend copy ${index} as a whole, or resume it first`,
    );
  volume.members.refuseIfNeeded(copy);
}

/**
 * Closes the devices of a copy that was taken out; one that has other copies, too, when all of them were, and none is just being
 * brought back. Resolves once every call
 * of it is over. Throws CopiesError when that takes too long.
 */
export async function letGoOfOffline(copy: Copy, set: CopySet): Promise<void> {
  const together = onDeviceOf(copy, set);
  if (together.every(({ standing, returning }) => standing === "offline" && !returning))
    await letGo(together, set.clock);
  else await inTime(copy, copy.drained(), set.clock);
}

/**
 * Closes the devices of copies out of use. Resolves once every call of them is over: a late write would land on a place that was given
 * to something else meanwhile. Throws CopiesError when that takes too long.
 */
export async function letGo(copies: readonly Copy[], clock: Clock): Promise<void> {
  const gone = copies.map((copy) => {
    const over = copy.drained();
    // Nothing is read from it any more, not even as a last resort.
    copy.released = true;
    const closed = copy.close().catch(() => undefined);
    return inTime(copy, Promise.all([over, closed]), clock);
  });
  await settle(gone);
}

/** Waits for the end of what is under way on a copy. Throws CopiesError when that takes too long. */
export async function inTime(copy: Copy, work: Promise<unknown>, clock: Clock): Promise<void> {
  await withinLimit(work, { clock, ms: CLOSE_MS_MAX }, () => {
    return new CopiesError("busy", copy.name, "calls on it are still under way; try again when its device answers");
  });
}
