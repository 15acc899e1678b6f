// Compares the freemap of each copy with what was reached on it. Exact equality is asked for; where something could
// not be followed, space that seems to be leaked may belong to that, and is not called so.

import { FREEMAP_LEAF_KIB, leafCount, usableRange } from "../src/format/freemap.ts";
import { LEAF_WORDS, popcount } from "../src/freemap/leaf.ts";
import type { BlockClaims } from "../src/walk/claims.ts";
import type { FoundLeaf } from "./content.ts";
import type { FindingList } from "./finding-list.ts";

const EMPTY_LEAF = new Uint32Array(LEAF_WORDS);

export interface FreemapCheck {
  readonly copy: number;
  readonly copyKib: number;
  readonly leaves: ReadonlyMap<number, FoundLeaf>;
  readonly claims: BlockClaims;
  /** Part of the tree could not be followed. */
  readonly gap: boolean;
}

/** Adds at most one finding of each kind for the copy, with totals. */
export function checkFreemap(check: FreemapCheck, list: FindingList): void {
  const { copy, copyKib, leaves, claims } = check;
  let leakedKib = 0;
  let lostKib = 0;
  let firstLeaked = -1;
  let firstLost = -1;
  const indexes = new Set([...leaves.keys(), ...claims.leafIndexes()]);
  for (const index of [...indexes].sort((a, b) => a - b)) {
    if (index >= leafCount(copyKib)) continue;
    const marked = leaves.get(index)?.words ?? EMPTY_LEAF;
    const reached = claims.leaf(index) ?? EMPTY_LEAF;
    for (let word = 0; word < LEAF_WORDS; word++) {
      const difference = (marked[word] as number) ^ (reached[word] as number);
      if (difference === 0) continue;
      const leaked = difference & (marked[word] as number);
      const lost = difference & (reached[word] as number);
      const kib = index * FREEMAP_LEAF_KIB + word * 32;
      if (leaked !== 0 && firstLeaked < 0) firstLeaked = kib + lowestBit(leaked);
      if (lost !== 0 && firstLost < 0) firstLost = kib + lowestBit(lost);
      leakedKib += popcount(leaked);
      lostKib += popcount(lost);
    }
  }
  const place = { copy, repair: { kind: "freemap" } } as const;
  if (leakedKib > 0 && !check.gap) {
    list.add(
      "freemap-leaked",
      `freemap of copy ${copy}: ${leakedKib} KiB marked as used that nothing refers to, from KiB ${firstLeaked} on`,
      place,
    );
  }
  if (lostKib > 0) {
    list.add(
      "freemap-lost",
      `freemap of copy ${copy}: ${lostKib} KiB marked as free that are in use, from KiB ${firstLost} on`,
      place,
    );
  }
  checkCounts(copy, copyKib, leaves, list);
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

function checkCounts(copy: number, copyKib: number, leaves: ReadonlyMap<number, FoundLeaf>, list: FindingList): void {
  const place = { copy, repair: { kind: "freemap" } } as const;
  for (const [index, leaf] of leaves) {
    if (index >= leafCount(copyKib)) {
      list.add("freemap-range", `freemap of copy ${copy}: leaf ${index} of ${leafCount(copyKib)}`, place);
      continue;
    }
    const { freeKib, freeChunks } = countFree(leaf.words, index, copyKib);
    if (leaf.freeKib === freeKib && leaf.freeChunks === freeChunks) continue;
    const message = `freemap of copy ${copy}: leaf ${index} counts ${leaf.freeKib} KiB and ${leaf.freeChunks} chunks free, its bits ${freeKib} and ${freeChunks}`;
    list.add("freemap-counts", message, place);
  }
}

/** Free KiB and wholly free 64 KiB chunks of a leaf, within the usable range of the copy. */
export function countFree(words: Uint32Array, index: number, copyKib: number): { freeKib: number; freeChunks: number } {
  const [start, end] = usableRange(copyKib);
  const base = index * FREEMAP_LEAF_KIB;
  let freeKib = 0;
  let freeChunks = 0;
  for (let word = 0; word < LEAF_WORDS; word += 2) {
    const kib = base + word * 32;
    if (kib < start || kib + 64 > end) continue;
    const used = popcount(words[word] as number) + popcount(words[word + 1] as number);
    freeKib += 64 - used;
    if (used === 0) freeChunks++;
  }
  return { freeKib, freeChunks };
}
