// One leaf of a free-space bitmap in memory: what the next root will say (`words`), and over it what may not be used
// yet although it is free: `held`, blocks that a root still on media names (I3) and the ring areas; `anchored`, blocks of
// the last state that was complete on a copy being caught up (I7).

import { FREEMAP_LEAF_BYTES } from "../format/freemap.ts";

export const LEAF_WORDS = FREEMAP_LEAF_BYTES / 4;

/** Found no room in this leaf. */
export const NO_RUN = -1;

export class Leaf {
  readonly index: number;
  readonly words: Uint32Array;
  /** Bits that are neither in use nor to be given out; undefined when there are none. */
  held: Uint32Array | undefined;
  /** Bits that the anchor of the copy names, in use now or not; undefined when there is no anchor. */
  anchored: Uint32Array | undefined;
  /** Its bits differ from those on media. */
  changed = false;
  /** The transaction that already gave it a new place; it moves once in each. */
  relocatedIn = 0;
  /** Nobody could read what it marks: nothing is given out of it. Never of a volume that is written. */
  lost = false;
  /** Runs held until a root is overwritten; such a leaf stays in memory. */
  heldRuns = 0;

  constructor(index: number, words: Uint32Array) {
    this.index = index;
    this.words = words;
  }

  /** In use, held or anchored. */
  taken(word: number): number {
    let used = this.words[word] as number;
    if (this.held !== undefined) used |= this.held[word] as number;
    if (this.anchored !== undefined) used |= this.anchored[word] as number;
    return used >>> 0;
  }

  /** KiB of the run that could be given out. */
  freeIn(kib: number, sizeKib: number): number {
    let free = 0;
    for (let at = kib; at < kib + sizeKib; at += 32) free += popcount(~this.taken(at >>> 5) & mask(sizeKib, at));
    return free;
  }

  /**
   * First KiB (within the leaf) of an aligned free run of `sizeKib` at or after word `from`, or NO_RUN.
   * With `sparing`, runs that would break into a wholly free 64 KiB chunk don't count.
   */
  find(sizeKib: number, from: number, sparing: boolean): number {
    if (sizeKib === 64) {
      if (sparing) return NO_RUN;
      for (let word = from & ~1; word < LEAF_WORDS; word += 2) {
        if (this.taken(word) === 0 && this.taken(word + 1) === 0) return word * 32;
      }
      return NO_RUN;
    }
    const runMask = sizeKib === 32 ? 0xffffffff : (1 << sizeKib) - 1;
    for (let word = from; word < LEAF_WORDS; word++) {
      const taken = this.taken(word);
      if (taken === 0xffffffff) continue;
      if (sparing && taken === 0 && this.taken(word ^ 1) === 0) continue;
      for (let shift = 0; shift < 32; shift += sizeKib) {
        if ((taken & (runMask << shift)) === 0) return word * 32 + shift;
      }
    }
    return NO_RUN;
  }

  /** Wholly free 64 KiB chunks among those that the run [kib, kib + sizeKib) touches: one at most, runs are aligned. */
  chunkIsFree(kib: number): boolean {
    const word = (kib >>> 6) * 2;
    return this.taken(word) === 0 && this.taken(word + 1) === 0;
  }

  isUsed(kib: number, sizeKib: number): boolean {
    return every(this.words, kib, sizeKib);
  }

  use(kib: number, sizeKib: number): void {
    setBits(this.words, kib, sizeKib);
  }

  clear(kib: number, sizeKib: number): void {
    unset(this.words, kib, sizeKib);
  }

  hold(kib: number, sizeKib: number): void {
    this.held ??= new Uint32Array(LEAF_WORDS);
    setBits(this.held, kib, sizeKib);
  }

  letGo(kib: number, sizeKib: number): void {
    if (this.held !== undefined) unset(this.held, kib, sizeKib);
  }
}

function mask(sizeKib: number, kib: number): number {
  return sizeKib >= 32 ? 0xffffffff : ((1 << sizeKib) - 1) << (kib & 31);
}

/** Marks an aligned run in the words of a leaf. */
export function setBits(words: Uint32Array, kib: number, sizeKib: number): void {
  for (let at = kib; at < kib + sizeKib; at += 32) words[at >>> 5] = (words[at >>> 5] as number) | mask(sizeKib, at);
}

function unset(words: Uint32Array, kib: number, sizeKib: number): void {
  for (let at = kib; at < kib + sizeKib; at += 32) words[at >>> 5] = (words[at >>> 5] as number) & ~mask(sizeKib, at);
}

function every(words: Uint32Array, kib: number, sizeKib: number): boolean {
  for (let at = kib; at < kib + sizeKib; at += 32) {
    const bits = mask(sizeKib, at);
    if (((words[at >>> 5] as number) & bits) !== bits >> 0) return false;
  }
  return true;
}

/** Set bits of a word (Hamming weight by halves, quarters, nibbles: Warren, Hacker's Delight §5-1). */
export function popcount(word: number): number {
  let x = word - ((word >>> 1) & 0x55555555);
  x = (x & 0x33333333) + ((x >>> 2) & 0x33333333);
  return Math.imul((x + (x >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}
