// The allocator of one copy: aligned power-of-two runs out of its free-space bitmap.
// Keeps I3 (what a root on media names is held back until that root is overwritten; what no root ever named is free at
// once) and I10 (the last wholly free chunks are kept for what deleting needs).
// Leaves are brought in by the `source` it is given, which throws MISS while one is being loaded.

import { assert } from "../base/assert.ts";
import { FREEMAP_LEAF_KIB, leafCount, usableRange } from "../format/freemap.ts";
import { BLOCK_MAX_KIB } from "../format/geometry.ts";
import { LEAF_WORDS, Leaf, NO_RUN, popcount } from "./leaf.ts";

/** How deep an allocation may dip into the reserve. */
export const Claim = {
  /** New data and names. */
  ORDINARY: 0,
  /** What deleting needs: copies of the blocks on the path. */
  DELETING: 1,
  /** The commit itself: bitmap leaves and what leads to them. */
  COMMIT: 2,
} as const;
export type Claim = (typeof Claim)[keyof typeof Claim];

/** Result of an allocation that found no room. */
export const NO_ROOM = 0;

interface Extent {
  readonly kib: number;
  readonly sizeKib: number;
}

/** Stands for a leaf that can't be read, where nothing is ever written by it: all in it counts as used. */
export const LOST_LEAF: unique symbol = Symbol("a bitmap leaf that can't be read");

/** Gives the on-media words of a leaf, or undefined when it is not in the tree (all free); may throw MISS. */
export type LeafSource = (index: number) => Uint32Array | typeof LOST_LEAF | undefined;

const CHUNK_KIB = BLOCK_MAX_KIB;
/** Longest aligned run in a chunk that is not wholly free. */
const BROKEN_RUN_MAX_KIB = CHUNK_KIB / 2;
/** Clean leaves kept in memory per copy (4 KiB each). */
const LEAVES_KEPT = 512;

export class Freemap {
  readonly copy: number;
  readonly sizeKib: number;
  /** Wholly free chunks kept back from ordinary and from deleting claims. */
  readonly reserveChunks: number;
  readonly #source: LeafSource;
  readonly #leaves = new Map<number, Leaf>();
  /** Per leaf: KiB and whole chunks that could be given out. */
  readonly #freeKib: Uint16Array;
  readonly #freeChunks: Uint16Array;
  /**
   * Per leaf: no free run in a broken chunk is longer, in KiB, as far as searches have shown. An operation is begun again after each
   * leaf that it lacks; so it ends although it passes more leaves whose room is in small pieces than are kept.
   */
  readonly #longestKib: Uint8Array;
  #totalKib = 0;
  #totalChunks = 0;
  /** Where each class of sizes goes on searching: KiB. Apart from each other, so that large runs stay whole. */
  readonly #cursorKib = [0, 0, 0];
  /** Freed in the open transaction, still named by a root on media: applied to the leaves when it is sealed. */
  #pending: Extent[] = [];
  #pendingKib = 0;
  /** Held since transaction t, freed in it: let go when two later roots are durable. */
  #held: { tid: number; extents: Extent[] }[] = [];
  #heldKib = 0;
  #reservedKib = 0;
  #isKept: ((kib: number, sizeKib: number) => boolean) | undefined;
  /** By leaf: what the anchor of the copy names (I7). */
  readonly #anchored = new Map<number, Uint32Array>();

  constructor(copy: number, sizeKib: number, source: LeafSource) {
    this.copy = copy;
    this.sizeKib = sizeKib;
    this.#source = source;
    const leaves = leafCount(sizeKib);
    this.#freeKib = new Uint16Array(leaves);
    this.#freeChunks = new Uint16Array(leaves);
    this.#longestKib = new Uint8Array(leaves);
    // 1/32 of the copy, at least 3 MiB and at most 512 MiB: several commits' worth of metadata.
    this.reserveChunks = Math.min(8192, Math.max(48, Math.floor(sizeKib / CHUNK_KIB / 32)));
    for (let index = 0; index < leaves; index++) {
      const [start, end] = this.#usable(index);
      this.setLeafSummary(index, end - start, Math.floor(end / CHUNK_KIB) - Math.ceil(start / CHUNK_KIB));
    }
    const third = Math.floor(leaves / 3) * FREEMAP_LEAF_KIB;
    this.#cursorKib[1] = third;
    this.#cursorKib[2] = third * 2;
  }

  /** Records what the ref of a leaf says about it, before the leaf itself is loaded. */
  setLeafSummary(index: number, freeKib: number, freeChunks: number): void {
    this.#totalKib += freeKib - (this.#freeKib[index] as number);
    this.#totalChunks += freeChunks - (this.#freeChunks[index] as number);
    this.#freeKib[index] = freeKib;
    this.#freeChunks[index] = freeChunks;
    this.#longestKib[index] = BROKEN_RUN_MAX_KIB;
  }

  /** KiB that are free or will be once the roots that hold them are overwritten; the reserve is not counted. */
  get freeKib(): number {
    return Math.max(0, this.unusedKib - this.reserveChunks * CHUNK_KIB);
  }

  /** KiB not in use, the reserve and what is held included. */
  get unusedKib(): number {
    return this.#totalKib + this.#heldKib + this.#pendingKib + this.#reservedKib;
  }

  /** KiB in wholly free chunks, those of the reserve included: a commit has them for the asking. */
  get wholeKib(): number {
    return this.#totalChunks * CHUNK_KIB;
  }

  /** True when forced commits could make room: something freed is not reusable yet. */
  get hasDeferred(): boolean {
    return this.#pending.length > 0 || this.#held.length > 0;
  }

  /** Usable range within leaf `index`, in KiB from the leaf's start. */
  #usable(index: number): readonly [number, number] {
    const [start, end] = usableRange(this.sizeKib);
    const base = index * FREEMAP_LEAF_KIB;
    return [Math.min(FREEMAP_LEAF_KIB, Math.max(0, start - base)), Math.max(0, Math.min(FREEMAP_LEAF_KIB, end - base))];
  }

  /** The leaf in memory; may throw MISS. */
  leaf(index: number): Leaf {
    const known = this.#leaves.get(index);
    if (known !== undefined) return known;
    const words = this.#source(index) ?? new Uint32Array(LEAF_WORDS);
    const isLost = words === LOST_LEAF;
    const leaf = this.#adopt(new Leaf(index, isLost ? new Uint32Array(LEAF_WORDS).fill(0xffffffff) : words));
    leaf.lost = isLost;
    // What its ref says of it counts no more once it is here (I12).
    const { kib, chunks } = freeOf(leaf);
    this.#count(index, kib - (this.#freeKib[index] as number), chunks - (this.#freeChunks[index] as number));
    return leaf;
  }

  #adopt(leaf: Leaf): Leaf {
    const [start, end] = this.#usable(leaf.index);
    for (let kib = 0; kib < start; kib += CHUNK_KIB) leaf.hold(kib, CHUNK_KIB);
    for (let kib = end; kib < FREEMAP_LEAF_KIB; kib += CHUNK_KIB) leaf.hold(kib, CHUNK_KIB);
    leaf.anchored = this.#anchored.get(leaf.index);
    if (this.#leaves.size >= LEAVES_KEPT) this.#forgetOne();
    this.#leaves.set(leaf.index, leaf);
    return leaf;
  }

  /** Takes the whole bitmap over from `words`, 1024 to a leaf; leaves in use count as changed. For a freemap not used yet. */
  fillFrom(words: Uint32Array): void {
    for (let index = 0; index < this.#freeKib.length; index++) {
      const part = words.slice(index * LEAF_WORDS, (index + 1) * LEAF_WORDS);
      if (!part.some((word) => word !== 0)) continue;
      const leaf = new Leaf(index, part);
      leaf.changed = true;
      this.#adopt(leaf);
      const { freeKib, freeChunks } = this.recordedFree(leaf);
      this.setLeafSummary(index, freeKib, freeChunks);
    }
  }

  #forgetOne(): void {
    for (const leaf of this.#leaves.values()) {
      if (leaf.changed || leaf.heldRuns > 0) continue;
      this.#leaves.delete(leaf.index);
      return;
    }
  }

  /**
   * Takes an aligned run of `sizeKib` (1–64, a power of two) and returns its first KiB, or NO_ROOM. May throw MISS
   * before anything changed.
   */
  allocate(sizeKib: number, claim: Claim): number {
    const sparing = this.#totalChunks <= this.#chunksKept(sizeKib, claim);
    if (sparing) return this.#mayFill(sizeKib, claim) ? this.#search(sizeKib, true) : NO_ROOM;
    // Inside the reserve, broken chunks are filled first: whole ones come back only when all in them is freed.
    if (this.#totalChunks <= this.reserveChunks) {
      const kib = this.#search(sizeKib, true);
      if (kib !== NO_ROOM) return kib;
    }
    return this.#search(sizeKib, false);
  }

  /**
   * Whole chunks that a claim may not break into; inodes by the thousand, which fit into
   * any hole a forced commit lets go, leave most to the larger blocks above them.
   */
  #chunksKept(sizeKib: number, claim: Claim): number {
    if (claim === Claim.COMMIT) return 0;
    if (claim === Claim.ORDINARY) return this.reserveChunks;
    return sizeKib < 4 ? this.reserveChunks - (this.reserveChunks >>> 2) : this.reserveChunks >>> 2;
  }

  /**
   * May a claim that finds no chunk to break fill what is left of broken ones? Commits break chunks of the reserve; if
   * others always filled those up, the reserve would be gone chunk by chunk (I10).
   */
  #mayFill(sizeKib: number, claim: Claim): boolean {
    const reserveKib = this.reserveChunks * CHUNK_KIB;
    const leftKib = this.#totalKib - sizeKib;
    if (claim === Claim.ORDINARY) return this.#totalChunks >= this.reserveChunks || leftKib >= 2 * reserveKib;
    return claim === Claim.COMMIT || leftKib >= reserveKib / 4;
  }

  /** The cursor's leaf from the cursor on, then the others, then the part of the first before the cursor. */
  #search(sizeKib: number, sparing: boolean): number {
    const sizeClass = sizeKib === BLOCK_MAX_KIB ? 2 : sizeKib >= 4 ? 1 : 0;
    const cursor = this.#cursorKib[sizeClass] as number;
    const leaves = this.#freeKib.length;
    const first = Math.min(leaves - 1, Math.floor(cursor / FREEMAP_LEAF_KIB));
    for (let turn = 0; turn <= leaves; turn++) {
      const index = (first + turn) % leaves;
      if (!this.#mayHold(index, sizeKib, sparing)) continue;
      const leaf = this.leaf(index);
      const from = turn === 0 ? (cursor % FREEMAP_LEAF_KIB) >>> 5 : 0;
      const at = leaf.find(sizeKib, from, sparing);
      if (at === NO_RUN) {
        if (from === 0) this.#longestKib[index] = Math.min(this.#longestKib[index] as number, sizeKib / 2);
        continue;
      }
      const kib = index * FREEMAP_LEAF_KIB + at;
      this.#take(leaf, at, sizeKib);
      this.#cursorKib[sizeClass] = kib;
      return kib;
    }
    return NO_ROOM;
  }

  #mayHold(index: number, sizeKib: number, sparing: boolean): boolean {
    const chunks = this.#freeChunks[index] as number;
    if (chunks > 0 && !sparing) return true;
    return (
      sizeKib <= (this.#longestKib[index] as number) && (this.#freeKib[index] as number) - chunks * CHUNK_KIB >= sizeKib
    );
  }

  #take(leaf: Leaf, at: number, sizeKib: number): void {
    if (leaf.chunkIsFree(at)) this.#count(leaf.index, 0, -1);
    leaf.use(at, sizeKib);
    leaf.changed = true;
    this.#count(leaf.index, -sizeKib, 0);
  }

  #count(index: number, kib: number, chunks: number): void {
    this.#freeKib[index] = (this.#freeKib[index] as number) + kib;
    this.#freeChunks[index] = (this.#freeChunks[index] as number) + chunks;
    // What is freed may be, or make, a longer run; so may what is left of a chunk that was broken.
    if (kib > 0 || chunks < 0) this.#longestKib[index] = BROKEN_RUN_MAX_KIB;
    this.#totalKib += kib;
    this.#totalChunks += chunks;
  }

  /** Frees a run that no root and no log record ever named: reusable now. Its leaf is in memory: it was just taken. */
  freeNow(kib: number, sizeKib: number): void {
    const leaf = this.leaf(Math.floor(kib / FREEMAP_LEAF_KIB));
    const at = kib % FREEMAP_LEAF_KIB;
    assert(leaf.isUsed(at, sizeKib), `copy ${this.copy}: ${sizeKib} KiB at ${kib} freed, but not in use`);
    leaf.clear(at, sizeKib);
    leaf.changed = true;
    this.#count(leaf.index, sizeKib, leaf.chunkIsFree(at) ? 1 : 0);
  }

  /** Runs that stay in use whoever frees them, because something else names them, too. */
  neverFrees(isKept: (kib: number, sizeKib: number) => boolean): void {
    this.#isKept = isKept;
  }

  /** Frees a run that a root on media may name (I3). */
  freeLater(kib: number, sizeKib: number): void {
    if (this.#isKept?.(kib, sizeKib) === true) return;
    this.#pending.push({ kib, sizeKib });
    this.#pendingKib += sizeKib;
  }

  /** Number of frees recorded so far in the open transaction, for `forgetPending`. */
  get pendingCount(): number {
    return this.#pending.length;
  }

  /** Takes back all `freeLater` calls after the first `count`: their operation was rolled back. */
  forgetPending(count: number): void {
    while (this.#pending.length > count) this.#pendingKib -= (this.#pending.pop() as Extent).sizeKib;
  }

  /**
   * Clears the bits of everything freed in transaction `tid` and holds the runs back. May throw MISS; what is done
   * by then stays done.
   */
  applyPending(tid: number): void {
    let generation = this.#held.at(-1);
    while (this.#pending.length > 0) {
      const extent = this.#pending.at(-1) as Extent;
      const leaf = this.leaf(Math.floor(extent.kib / FREEMAP_LEAF_KIB));
      const at = extent.kib % FREEMAP_LEAF_KIB;
      assert(leaf.isUsed(at, extent.sizeKib), `copy ${this.copy}: ${extent.sizeKib} KiB at ${extent.kib} freed twice`);
      this.#pending.pop();
      this.#pendingKib -= extent.sizeKib;
      leaf.clear(at, extent.sizeKib);
      leaf.hold(at, extent.sizeKib);
      leaf.heldRuns++;
      leaf.changed = true;
      if (generation?.tid !== tid) this.#held.push((generation = { tid, extents: [] }));
      generation.extents.push(extent);
      this.#heldKib += extent.sizeKib;
    }
  }

  /** Holds back a run that is free, but named by an older root still in the ring (found at mount). */
  holdFree(tid: number, kib: number, sizeKib: number): void {
    const leaf = this.leaf(Math.floor(kib / FREEMAP_LEAF_KIB));
    const at = kib % FREEMAP_LEAF_KIB;
    if (leaf.chunkIsFree(at)) this.#count(leaf.index, 0, -1);
    leaf.hold(at, sizeKib);
    leaf.heldRuns++;
    this.#count(leaf.index, -sizeKib, 0);
    let generation = this.#held.at(-1);
    if (generation?.tid !== tid) this.#held.push((generation = { tid, extents: [] }));
    generation.extents.push({ kib, sizeKib });
    this.#heldKib += sizeKib;
  }

  /** The oldest root in any ring is now that of transaction `oldestTid`: what was free in it can be used again (I3). */
  rootDurable(oldestTid: number): void {
    while (this.#held.length > 0 && (this.#held[0] as { tid: number }).tid <= oldestTid) {
      const generation = this.#held.shift() as { extents: Extent[] };
      for (const { kib, sizeKib } of generation.extents) {
        const leaf = this.#leaves.get(Math.floor(kib / FREEMAP_LEAF_KIB));
        assert(leaf !== undefined, "a leaf with held runs left memory");
        const at = kib % FREEMAP_LEAF_KIB;
        leaf.letGo(at, sizeKib);
        leaf.heldRuns--;
        this.#count(leaf.index, leaf.freeIn(at, sizeKib), leaf.chunkIsFree(at) ? 1 : 0);
        this.#heldKib -= sizeKib;
      }
    }
  }

  /**
   * Keeps what `words` of leaf `index` mark from being given out, whatever becomes of it, until `releaseAnchor` (I7). May
   * throw MISS before anything changed.
   */
  anchor(index: number, words: Uint32Array): void {
    const leaf = this.leaf(index);
    assert(leaf.anchored === undefined, `copy ${this.copy}: leaf ${index} is anchored already`);
    this.#anchored.set(index, words);
    this.#recount(leaf, () => (leaf.anchored = words));
  }

  /** Leaves in which something is anchored. */
  get anchoredLeaves(): readonly number[] {
    return [...this.#anchored.keys()];
  }

  /** Lets go of what is anchored in a leaf. May throw MISS before anything changed. */
  releaseAnchor(index: number): void {
    const leaf = this.leaf(index);
    this.#anchored.delete(index);
    this.#recount(leaf, () => (leaf.anchored = undefined));
  }

  #recount(leaf: Leaf, change: () => void): void {
    const before = freeOf(leaf);
    change();
    const after = freeOf(leaf);
    this.#count(leaf.index, after.kib - before.kib, after.chunks - before.chunks);
  }

  /** Sets an aligned run aside, in memory only, for a block that is about to be brought to this copy; or NO_ROOM. */
  reserve(sizeKib: number): number {
    const kib = this.allocate(sizeKib, Claim.ORDINARY);
    if (kib === NO_ROOM) return NO_ROOM;
    const leaf = this.leaf(Math.floor(kib / FREEMAP_LEAF_KIB));
    const at = kib % FREEMAP_LEAF_KIB;
    leaf.clear(at, sizeKib);
    leaf.hold(at, sizeKib);
    leaf.heldRuns++;
    this.#reservedKib += sizeKib;
    return kib;
  }

  /**
   * Sets aside a run that a log names (trap 4). May throw MISS before anything changed. False when something else has it, in
   * which case nothing changed either. In a lost leaf nothing else can be given it.
   */
  reserveAt(kib: number, sizeKib: number): boolean {
    const leaf = this.leaf(Math.floor(kib / FREEMAP_LEAF_KIB));
    const at = kib % FREEMAP_LEAF_KIB;
    if (!leaf.lost) {
      if (leaf.freeIn(at, sizeKib) !== sizeKib) return false;
      if (leaf.chunkIsFree(at)) this.#count(leaf.index, 0, -1);
      this.#count(leaf.index, -sizeKib, 0);
    }
    leaf.hold(at, sizeKib);
    leaf.heldRuns++;
    this.#reservedKib += sizeKib;
    return true;
  }

  /** Takes back that a reservation ended with its run in use. */
  reserveAgain(kib: number, sizeKib: number): void {
    const leaf = this.leaf(Math.floor(kib / FREEMAP_LEAF_KIB));
    const at = kib % FREEMAP_LEAF_KIB;
    leaf.clear(at, sizeKib);
    leaf.hold(at, sizeKib);
    leaf.heldRuns++;
    leaf.changed = true;
    this.#reservedKib += sizeKib;
  }

  /** Ends a reservation: the run is in use from now on, or free again. */
  endReservation(kib: number, sizeKib: number, used: boolean): void {
    const leaf = this.leaf(Math.floor(kib / FREEMAP_LEAF_KIB));
    const at = kib % FREEMAP_LEAF_KIB;
    leaf.letGo(at, sizeKib);
    leaf.heldRuns--;
    this.#reservedKib -= sizeKib;
    if (used) {
      leaf.use(at, sizeKib);
      leaf.changed = true;
    } else this.#count(leaf.index, leaf.freeIn(at, sizeKib), leaf.chunkIsFree(at) ? 1 : 0);
  }

  /** Leaves that differ from media, in the order they were loaded. */
  *changedLeaves(): Generator<Leaf> {
    for (const leaf of this.#leaves.values()) if (leaf.changed) yield leaf;
  }

  /** Free KiB and wholly free chunks as the leaf's ref records them: by its bits alone, within the usable range. */
  recordedFree(leaf: Leaf): { freeKib: number; freeChunks: number } {
    const [start, end] = this.#usable(leaf.index);
    let freeKib = end - start;
    let freeChunks = 0;
    for (let word = start >>> 5; word < end >>> 5; word += 2) {
      const a = leaf.words[word] as number;
      const b = leaf.words[word + 1] as number;
      if (a === 0 && b === 0) freeChunks++;
      else freeKib -= popcount(a) + popcount(b);
    }
    return { freeKib, freeChunks };
  }
}

function freeOf(leaf: Leaf): { kib: number; chunks: number } {
  let kib = 0;
  let chunks = 0;
  for (let word = 0; word < LEAF_WORDS; word += 2) {
    const a = leaf.taken(word);
    const b = leaf.taken(word + 1);
    if (a === 0 && b === 0) chunks++;
    kib += 64 - popcount(a) - popcount(b);
  }
  return { kib, chunks };
}
