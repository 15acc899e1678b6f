// A copy leaves the volume for good: it leaves the in-sync set under a new epoch, then a walk clears every pointer to it, its
// freemap tree goes, and only when no root in any ring can name it is its index free. The walk needs no cursor:
// what is cleared is gone. It needs none of the copy's devices either.
// Narrow blocks (copies=K) that it holds go to another copy first; what is on it alone and can't be read keeps it a member.
// Invariant I2: how many copies are needed changes in a commit of its own, durable on all in sync, before any leaves.

import { bitCount } from "../base/bits.ts";
import type { Copy } from "../copies/copy.ts";
import { allWithinDeadline } from "../copies/deadline.ts";
import { CopiesError } from "../copies/errors.ts";
import { strikeLeft } from "../copies/left-ranges.ts";
import { onDeviceOf } from "../copies/reopen.ts";
import { minCopiesWithout, stayingMembers } from "../copies/membership.ts";
import { wipeRing } from "../copies/ring.ts";
import type { DeviceOperation } from "../device/device.ts";
import { refKey, refMissing, refUnplaced } from "../format/blockref.ts";
import { ROOT_SLOTS } from "../format/geometry.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { isNarrow } from "../tree/narrow.ts";
import { treeCeiling } from "../tree/tree.ts";
import { treeEdit, treeRemove } from "../tree/tree-edit.ts";
import { freemapRoot } from "../volume/freemap-trees.ts";
import type { Volume } from "../volume/volume.ts";
import { type Brought, bringToHeirs, enterHeirs, heirCost, isLastHolder, needsHeir } from "./heirs.ts";
import { letGoOfOffline } from "./take-out.ts";
import { blockKey, type NamedBlock, namedBlock } from "./named-block.ts";
import { type Place, Sweep } from "./sweep.ts";

/** Refs looked at in one step, and leaves of its freemap released in one. */
const STEP_REFS = 1024;
const STEP_LEAVES = 32;

/** Takes a copy, at hand or not, out of the volume: resolves when no root counts on it. Throws CopiesError when it must stay. */
export async function beginDetach(volume: Volume, index: number, reason = "is being detached"): Promise<void> {
  if ((volume.members.leaving & (1 << index)) !== 0) return;
  const wanted = refuseDetach(volume, index);
  if (wanted !== volume.members.minCopies) {
    await volume.changeMembers(() => volume.members.changeMinCopies(refuseDetach(volume, index)));
  }
  await volume.changeMembers(() => {
    if (volume.members.minCopies !== refuseDetach(volume, index)) {
      throw new CopiesError(
        "too-few",
        `copy ${index}`,
        "another copy failed meanwhile; look at h2ts status, then try again",
      );
    }
    volume.members.beginLeaving(index, reason);
  });
}

/** How many copies are needed once more, after a detach that was interrupted before its copy left. */
export async function restoreMinCopies(volume: Volume): Promise<void> {
  const { members, rootImage } = volume;
  const { replaced } = members;
  const wanted = minCopiesWithout(rootImage.view, replaced);
  if (members.minCopies >= wanted || bitCount(members.inSync & ~replaced) < wanted) return;
  await volume.changeMembers(() => members.changeMinCopies(wanted));
}

/** How many copies will be needed without it. Throws when it is no member, or is needed itself. */
function refuseDetach(volume: Volume, index: number): number {
  const { view } = volume.rootImage;
  const name = `copy ${index}`;
  const bit = 1 << index;
  if ((stayingMembers(view) & bit) === 0) throw new CopiesError("no-copy", name, "is no copy of the volume");
  const left = bitCount(volume.members.inSync & ~bit);
  const isReplaced = (volume.members.replaced & bit) !== 0;
  const withoutIt = minCopiesWithout(view, bit);
  // Whoever took its place counts for it: with that no more are needed than before.
  const needed = isReplaced ? Math.min(withoutIt, volume.members.minCopies) : withoutIt;
  if (left < Math.max(1, needed)) {
    throw new CopiesError(
      "too-few",
      name,
      `can't be detached: ${left} complete copies would be left, ${needed} are needed; wait until the others are in sync, or replace it`,
    );
  }
  return needed;
}

export class Detach {
  readonly index: number;
  /** Pointers cleared so far. */
  cleared = 0;
  /** Narrow blocks that are on this copy alone and could be brought to no other, and inodes some of them belong to. */
  kept = 0;
  readonly keptBy = new Set<number>();
  readonly #volume: Volume;
  #stopped = false;

  constructor(volume: Volume, index: number) {
    this.#volume = volume;
    this.index = index;
  }

  /** Ends it after the step under way; it goes on at the next mount. */
  stop(): void {
    this.#stopped = true;
  }

  /** Resolves with true when the index is free, false when it was stopped, or when the tree can't do without it. */
  async run(): Promise<boolean> {
    const volume = this.#volume;
    if (!(await this.#clearPointers())) return false;
    // What was freed on it is in its bitmaps now; nothing changes those any more.
    await volume.forceCommit();
    while (!this.#stopped && (await volume.maintain((state) => this.#releaseLeaves(state))));
    // No root in a ring may name a copy that the volume does not have.
    for (let slot = 0; slot < ROOT_SLOTS; slot++) {
      if (this.#stopped) return false;
      await volume.forceCommit();
    }
    const known = volume.copies.copy(this.index);
    if (known !== undefined && known.failure === undefined) {
      const ring = volume.rings.ring(this.index);
      await this.#forOneDeadline(known, "write", wipeRing(known, ring));
    }
    let copy: Copy | undefined;
    await volume.changeMembers(() => {
      // Its device may have been opened for another copy until now.
      copy = volume.copies.copy(this.index);
      volume.members.forget(this.index);
      volume.rings.remove(this.index);
    });
    if (copy === undefined) return true;
    if (!copy.stalled) await this.#forOneDeadline(copy, "write", this.#strike(copy));
    const [neighbour] = onDeviceOf(copy, volume.copies).filter((other) => other !== copy);
    // A device that is dying may not even close.
    const closed = copy.close().catch(() => undefined);
    if (copy.failure === undefined) await this.#forOneDeadline(copy, "close", closed);
    // Those that were taken out may have been waiting for this one to let go of the device.
    if (neighbour?.standing === "offline") await letGoOfOffline(neighbour, volume.copies);
    return true;
  }

  /** Where its range can't be struck from the header, whoever opens the device leaves it out. */
  #strike(copy: Copy): Promise<void> {
    return strikeLeft(copy, this.#volume.rootImage.view).catch(() => undefined);
  }

  /** What leaves is not worth more. */
  #forOneDeadline(copy: Copy, operation: DeviceOperation, done: Promise<void>): Promise<void> {
    const { clock, deadlineMs } = this.#volume.copies;
    return allWithinDeadline(clock, deadlineMs, operation, [{ copy, done }], () => true);
  }

  async #clearPointers(): Promise<boolean> {
    const { store, rootImage } = this.#volume;
    const sweep = new Sweep(store, rootImage);
    for (let place: Place | undefined = []; place !== undefined; ) {
      if (this.#stopped) return false;
      const from: Place = place;
      const { next, cleared, heirless } = await this.#volume.maintain(() => this.#clear(sweep, from));
      this.cleared += cleared;
      // What was not met again names other copies by now, and maybe this one still: the step is made once more.
      if (heirless.length === 0 || (await this.#bringToHeirs(sweep, from, heirless))) place = next;
    }
    return sweep.lost === 0 && this.kept === 0;
  }

  /** One step: clears what can be cleared, and tells of narrow blocks that another copy is to take over first. May throw MISS. */
  #clear(sweep: Sweep, from: Place): { next: Place | undefined; cleared: number; heirless: NamedBlock[] } {
    const { store } = this.#volume;
    const bit = 1 << this.index;
    const heirless: NamedBlock[] = [];
    let cleared = 0;
    const next = sweep.step(from, STEP_REFS, (node, at) => {
      const { view } = node.block;
      if (refUnplaced(view, at, bit) !== 0 && (refMissing(view, at) & bit) === 0) return 1;
      if (needsHeir(store, view, at, this.index)) {
        heirless.push(namedBlock(node.block, at));
        return heirCost(view, at);
      }
      if (store.pointers.forget(node.writable(), at, this.index)) cleared++;
      // A change costs more than a look.
      return 4;
    });
    return { next, cleared, heirless };
  }

  /** False when not all of them were met again: another walk, or a program, has changed what their refs say. */
  async #bringToHeirs(sweep: Sweep, from: Place, heirless: readonly NamedBlock[]): Promise<boolean> {
    const left = new Map(heirless.map((named) => [blockKey(named), named]));
    const enter = (brought: Brought): ReadonlySet<string> =>
      enterHeirs(this.#volume.store, sweep, from, STEP_REFS, brought, this.index);
    const { entered } = await bringToHeirs(this.#volume, heirless, enter, { readsAll: false });
    for (const key of entered) left.delete(key);
    this.cleared += heirless.length - left.size;
    const { met, blocks, inodes } = await this.#volume.maintain(() => this.#settle(sweep, from, left));
    if (met < left.size) return false;
    this.kept += blocks;
    for (const ino of inodes) this.keptBy.add(ino);
    return true;
  }

  /**
   * What no other copy took over: goes if another copy has the block too, stays if not. Tells how many of them were met, how
   * many blocks stay, and of which inodes. May throw MISS.
   */
  #settle(
    sweep: Sweep,
    from: Place,
    left: ReadonlyMap<string, unknown>,
  ): { met: number; blocks: number; inodes: Set<number> } {
    const { store } = this.#volume;
    const inodes = new Set<number>();
    const met = new Set<string>();
    let blocks = 0;
    sweep.step(from, STEP_REFS, (node, at) => {
      const { view } = node.block;
      const key = isNarrow(view, at) ? blockKey(namedBlock(node.block, at)) : "";
      if (!left.has(key)) return 1;
      met.add(key);
      if (isLastHolder(view, at, this.index)) {
        blocks++;
        inodes.add(sweep.inode);
      } else store.pointers.forget(node.writable(), at, this.index);
      return 1;
    });
    return { met: met.size, blocks, inodes };
  }

  /** Releases some leaves of the copy's freemap; false when none is left. May throw MISS. */
  #releaseLeaves({ store }: PfsState): boolean {
    const root = freemapRoot(this.#volume.rootImage, this.index);
    for (let left = STEP_LEAVES; left > 0; left--) {
      const first = treeCeiling(store, root, 0);
      if (first === undefined) return false;
      const key = refKey(first.block.view, first.at);
      const leaf = treeEdit(store, root, key);
      if (leaf === undefined) return false;
      store.release(leaf.block, leaf.at);
      treeRemove(store, root, key);
    }
    return true;
  }
}
