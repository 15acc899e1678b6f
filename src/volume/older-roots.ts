// Deferred reuse across a remount (I3): no list of deferred frees is stored. What an older root still in the ring has in
// use, and the newest one has free, is held back as if it had been freed in the newest root's transaction.

import { refKey, refPointer } from "../format/blockref.ts";
import { FREEMAP_LEAF_KIB } from "../format/freemap.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import type { Freemap } from "../freemap/freemap.ts";
import { LEAF_WORDS } from "../freemap/leaf.ts";
import type { Block } from "../tree/block.ts";
import type { BlockStore } from "../tree/store.ts";
import { type Position, treeCeiling, treeFind } from "../tree/tree.ts";
import { freemapRoot, readLeafWords } from "./freemap-trees.ts";

/** Leaves of one freemap in which `older` uses something that `newest` does not: leaf index to those bits. */
export async function usedOnlyByOlder(
  store: BlockStore,
  newest: Block,
  older: Block,
  copy: number,
): Promise<Map<number, Uint32Array>> {
  const found = new Map<number, Uint32Array>();
  const root = freemapRoot(older, copy);
  for (let key = 0; ; ) {
    const next = await store.untilLoaded(() => {
      const position = treeCeiling(store, root, key);
      if (position === undefined) return undefined;
      const index = refKey(position.block.view, position.at);
      const now = treeFind(store, freemapRoot(newest, copy), index);
      if (now !== undefined && samePlace(position, now)) return { index, bits: undefined };
      const before = readLeafWords(store, root, index) as Uint32Array;
      const words = readLeafWords(store, freemapRoot(newest, copy), index);
      return { index, bits: words === undefined ? before : before.map((word, i) => word & ~(words[i] as number)) };
    });
    if (next === undefined) return found;
    if (next.bits?.some((word) => word !== 0)) found.set(next.index, next.bits);
    key = next.index + 1;
  }
}

function samePlace(a: Position, b: Position): boolean {
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    if (refPointer(a.block.view, a.at, copy) !== refPointer(b.block.view, b.at, copy)) return false;
  }
  return true;
}

/** Adds the bits of `more` to `all`. */
export function mergeBits(all: Map<number, Uint32Array>, more: Map<number, Uint32Array>): void {
  for (const [index, bits] of more) {
    const known = all.get(index);
    if (known === undefined) all.set(index, bits);
    else for (let i = 0; i < LEAF_WORDS; i++) known[i] = (known[i] as number) | (bits[i] as number);
  }
}

/** Holds the runs that `bits` of leaf `index` mark, in pieces that no chunk boundary crosses. */
export function holdBits(freemap: Freemap, tid: number, index: number, bits: Uint32Array): void {
  const base = index * FREEMAP_LEAF_KIB;
  for (let word = 0; word < LEAF_WORDS; word++) {
    const marked = bits[word] as number;
    if (marked === 0) continue;
    if (marked === 0xffffffff) {
      freemap.holdFree(tid, base + word * 32, 32);
      continue;
    }
    for (let bit = 0; bit < 32; bit++) {
      if ((marked >>> bit) & 1) freemap.holdFree(tid, base + word * 32 + bit, 1);
    }
  }
}
