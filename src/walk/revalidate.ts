// Revalidation of a copy of unknown state (I6): every block the live tree has a pointer to it for is read from that copy
// alone and held against its check code. What matches is kept; a pointer to anything else is cleared, so that the resync
// brings the block anew, to a place that the copy's anchor does not name (I7). No byte of the copy is written here.
// It keeps a cursor in the root (I8), which stays before what could not be reached; what was written to the copy since it came back needs
// no check. Where only one node of the copy holds nothing, no block is read: pointers into its range are cleared, the others are kept.

import { type Copy } from "../copies/copy.ts";
import type { LoneCopy } from "../copies/lone-copy.ts";
import { refIsDirty, refUnplaced } from "../format/blockref.ts";
import { COPIES_MAX, ROOT_SLOTS } from "../format/geometry.ts";
import { MemberFlag } from "../format/last-seen.ts";
import { rootRevalidateCursor, setRootRevalidateCursor } from "../format/root-block.ts";
import { rootMemberFlags, setRootMemberFlags } from "../format/root-members.ts";
import { cursorCopy, cursorInode, cursorOf } from "../format/revalidate-cursor.ts";
import type { Block } from "../tree/block.ts";
import type { Volume } from "../volume/volume.ts";
import { blockKey, type NamedBlock, namedBlock, readOf } from "./named-block.ts";
import type { Pace } from "./pace.ts";
import { inodePlace, PASSED_BYTES, type Place, placeInode, Sweep } from "./sweep.ts";

/** One step. */
const STEP_BYTES = 4 * 1024 * 1024;

export interface RevalidationProgress {
  /** Blocks and bytes read so far, and how many of the blocks were not what the tree says. */
  blocks: number;
  bytes: number;
  bad: number;
}

export class Revalidation {
  readonly copy: Copy;
  readonly progress: RevalidationProgress = { blocks: 0, bytes: 0, bad: 0 };
  readonly #volume: Volume;
  readonly #pace: Pace;
  readonly #reader: LoneCopy;
  readonly #sweep: Sweep;
  #stopped = false;
  #onStop!: () => void;
  /** Resolves when it is stopped, which may be before it began. */
  readonly whenStopped = new Promise<void>((resolve) => (this.#onStop = resolve));

  constructor(volume: Volume, copy: Copy, pace: Pace) {
    this.#volume = volume;
    this.copy = copy;
    this.#pace = pace;
    this.#reader = volume.copies.alone(copy);
    this.#sweep = new Sweep(volume.store, volume.rootImage);
  }

  /** Ends it after the step under way; it goes on from its cursor another time. */
  stop(): void {
    this.#stopped = true;
    this.#onStop();
    this.#pace.hurry(this);
  }

  /** Blocks that no copy can read: what the copy holds below them can't be checked, so it is not trusted. */
  get lost(): number {
    return this.#sweep.lost;
  }

  /**
   * Resolves with true when every pointer was checked and the copy counts as trusted; false when it stopped before, or some
   * were out of reach.
   */
  async run(): Promise<boolean> {
    const { view } = this.#volume.rootImage;
    const cursor = rootRevalidateCursor(view);
    let place: Place | undefined = inodePlace(cursorCopy(cursor) === this.copy.index ? cursorInode(cursor) : 0);
    while (place !== undefined) {
      if (!this.#goesOn) return false;
      const reached: Place = place;
      const { blocks, next } = await this.#volume.view(() => this.#collect(reached));
      if (!(await this.#check(reached, blocks))) continue;
      place = next;
      if (next !== undefined) await this.#keepCursor(next);
    }
    if (this.lost > 0) return false;
    let trusted = false;
    await this.#volume.changeMembers(() => {
      // What it flushed may have been lost in the commit before this one.
      if (!this.#goesOn) return;
      trusted = true;
      setRootRevalidateCursor(view, 0);
      // With a node replaced the root says so until the copy joins: it could be mounted with the old one before.
      if (this.copy.lostNode === undefined)
        setRootMemberFlags(view, this.copy.index, rootMemberFlags(view, this.copy.index) & ~MemberFlag.UNTRUSTED);
      this.copy.untrusted = false;
    });
    // A whole node was freed: it may be needed for what is brought, so it is not to be held back for roots that go anyway (I3).
    for (let slot = 0; slot < ROOT_SLOTS && trusted && this.copy.lostNode !== undefined; slot++)
      await this.#volume.forceCommit();
    return trusted;
  }

  get #goesOn(): boolean {
    return !this.#stopped && this.copy.standing === "syncing" && this.copy.failure === undefined;
  }

  async #keepCursor(place: Place): Promise<void> {
    const { rootImage } = this.#volume;
    const ino = placeInode(place);
    const cursor = cursorOf(this.copy.index, ino);
    // What was out of reach is to be met again.
    if (this.lost > 0 || ino === 0 || cursor === rootRevalidateCursor(rootImage.view)) return;
    await this.#volume.maintain(({ store }) => {
      store.touch(rootImage);
      setRootRevalidateCursor(rootImage.view, cursor);
    });
  }

  /** Blocks with a place on the copy, from `place` on. May throw MISS. */
  #collect(place: Place): { blocks: NamedBlock[]; next: Place | undefined } {
    const blocks: NamedBlock[] = [];
    const { store } = this.#volume;
    const next = this.#sweep.step(place, STEP_BYTES, (node, at) => {
      const { block } = node;
      // What is on its way there was given its place since the copy came back.
      if ((store.peek(block, at)?.writing ?? 0) > 0) return PASSED_BYTES;
      const named = this.#inDoubt(block, at);
      if (named === undefined) return PASSED_BYTES;
      blocks.push(named);
      return named.sizeBytes;
    });
    return { blocks, next };
  }

  /** True when all that is bad among `blocks` was taken out of the tree; else they have changed, and are to be met again. */
  async #check(place: Place, blocks: readonly NamedBlock[]): Promise<boolean> {
    const bad = new Set((await this.#bad(blocks)).map(blockKey));
    if (bad.size === 0 || !this.#goesOn) return bad.size === 0;
    const cleared = await this.#volume.maintain(() => this.#clear(place, bad));
    this.progress.bad += cleared;
    return cleared === bad.size;
  }

  /** Those that the copy does not hold. */
  async #bad(blocks: readonly NamedBlock[]): Promise<readonly NamedBlock[]> {
    this.progress.blocks += blocks.length;
    if (this.copy.lostNode !== undefined) return blocks;
    const reads = blocks.map((named) => ({ named, read: readOf(named) }));
    await this.#reader.readBlocks(reads.map(({ read }) => read));
    const bytes = blocks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    this.progress.bytes += bytes;
    if (this.#goesOn) await this.#pace.take(this, bytes);
    return reads.filter(({ read }) => read.error !== undefined).map(({ named }) => named);
  }

  /** What a ref names, if the copy has a place for it that is not sure to hold it. */
  #inDoubt(block: Block, at: number): NamedBlock | undefined {
    // What is dirty was given its place since the copy came back.
    if (refIsDirty(block.view, at) || refUnplaced(block.view, at, this.copy.bit) !== 0) return undefined;
    const named = namedBlock(block, at);
    const isKept = this.copy.lostNode !== undefined && !this.copy.isLost(named.pointers[this.copy.index] ?? 0);
    return isKept ? undefined : named;
  }

  /** Clears the pointers to what is bad. May throw MISS. */
  #clear(place: Place, bad: ReadonlySet<string>): number {
    const { index } = this.copy;
    const left = new Set(bad);
    const others = (1 << COPIES_MAX) - 1 - this.copy.bit;
    this.#sweep.step(place, STEP_BYTES, (node, at) => {
      const { block } = node;
      // A step must reach as far as that in which they were collected.
      const named = this.#inDoubt(block, at);
      if (named === undefined) return PASSED_BYTES;
      if (!left.delete(blockKey(named))) return named.sizeBytes;
      // The only pointer there is stays: a block that is bad, but named, can be told to people.
      if (refUnplaced(block.view, at, others) !== others) this.#volume.store.pointers.clear(node.writable(), at, index);
      return named.sizeBytes;
    });
    return bad.size - left.size;
  }
}
