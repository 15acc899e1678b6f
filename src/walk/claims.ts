// What a walk reached on one copy: one bit per KiB, kept in pieces that match freemap leaves, so that a nearly empty
// copy of any size costs little and comparing with the freemap is a word-by-word affair.

import { FREEMAP_LEAF_KIB } from "../format/freemap.ts";
import { LEAF_WORDS } from "../freemap/leaf.ts";

export class BlockClaims {
  readonly #leaves = new Map<number, Uint32Array>();
  #kib = 0;

  /** KiB claimed so far. */
  get kib(): number {
    return this.#kib;
  }

  /** Words of a leaf (bit i of word w = KiB w × 32 + i of the leaf), undefined when nothing in it is claimed. */
  leaf(index: number): Uint32Array | undefined {
    return this.#leaves.get(index);
  }

  /** Indexes of the leaves in which something is claimed, in no order. */
  leafIndexes(): Iterable<number> {
    return this.#leaves.keys();
  }

  /** The same claims, apart from these from now on. */
  clone(): BlockClaims {
    const copy = new BlockClaims();
    for (const [index, words] of this.#leaves) copy.#leaves.set(index, words.slice());
    copy.#kib = this.#kib;
    return copy;
  }

  /** Claims a block of 1–64 KiB aligned to its size. False when any of it was claimed before. */
  claim(startKib: number, sizeKib: number): boolean {
    const index = Math.floor(startKib / FREEMAP_LEAF_KIB);
    let words = this.#leaves.get(index);
    if (words === undefined) this.#leaves.set(index, (words = new Uint32Array(LEAF_WORDS)));
    const { first, last, mask } = wordsOf(startKib, sizeKib);
    let fresh = true;
    for (let w = first; w <= last; w++) {
      const before = words[w] as number;
      if ((before & mask) !== 0) fresh = false;
      words[w] = before | mask;
    }
    if (fresh) this.#kib += sizeKib;
    return fresh;
  }

  /** True when any of a block of 1–64 KiB aligned to its size is claimed. */
  overlaps(startKib: number, sizeKib: number): boolean {
    const words = this.#leaves.get(Math.floor(startKib / FREEMAP_LEAF_KIB));
    if (words === undefined) return false;
    const { first, last, mask } = wordsOf(startKib, sizeKib);
    for (let w = first; w <= last; w++) if (((words[w] as number) & mask) !== 0) return true;
    return false;
  }
}

/** Words of a leaf that hold the bits of a block, and which bits in each. */
function wordsOf(startKib: number, sizeKib: number): { first: number; last: number; mask: number } {
  const bit = startKib % FREEMAP_LEAF_KIB;
  // Alignment keeps a block of up to 32 KiB inside one word; one of 64 KiB is two whole words.
  const mask = sizeKib >= 32 ? 0xffffffff : ((1 << sizeKib) - 1) << (bit & 31);
  return { first: bit >>> 5, last: (bit + sizeKib - 1) >>> 5, mask };
}
