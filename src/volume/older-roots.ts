// Deferred reuse across a remount (I3): no list of deferred frees is stored. What an older root still in the ring has in
// use, and the newest one has free, is held back as if it had been freed in the newest root's transaction.

import { refKey, refPointer } from "../format/blockref.ts";
import { FREEMAP_LEAF_KIB } from "../format/freemap.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import type { Freemap } from "../freemap/freemap.ts";
import { LEAF_WORDS } from "../freemap/leaf.ts";
import type { Block } from "../tree/block.ts";
import type { BlockStore } from "../tree/store.ts";
import { type Position, type Root, treeCeiling, treeFind } from "../tree/tree.ts";
import { lookingInto } from "./freemap-fault.ts";
import { freemapRoot, readLeafWords } from "./freemap-trees.ts";

/** Leaves looked at at once: what they take must fit beside everything else, however large the volume is. */
const STEP_LEAVES = 32;

/**
 * Leaves of one freemap in which `older` uses something that `newest` does not: leaf index to those bits. Throws FreemapFault when it is
 * the newest's that can't be read.
 */
export async function usedOnlyByOlder(
  store: BlockStore,
  newest: Block,
  older: Block,
  copy: number,
): Promise<Map<number, Uint32Array>> {
  const found = new Map<number, Uint32Array>();
  const before = freemapRoot(older, copy);
  const now = freemapRoot(newest, copy);
  for (let key: number | undefined = 0; key !== undefined; ) {
    const from: number = key;
    const { changed, next } = await store.untilLoaded(() => changedLeaves(store, copy, before, now, from));
    for (const index of changed) {
      const bits = await store.untilLoaded(() => {
        const words = lookingInto(copy, () => readLeafWords(store, now, index));
        const used = readLeafWords(store, before, index) as Uint32Array;
        return words === undefined ? used : used.map((word, i) => word & ~(words[i] as number));
      });
      if (bits.some((word) => word !== 0)) found.set(index, bits);
    }
    key = next;
  }
  return found;
}

/**
 * Some leaves of `before`, from `key` on, that lie elsewhere now, and where to go on. Queues the blocks of all of them, so that
 * one wait brings them. May throw MISS.
 */
function changedLeaves(
  store: BlockStore,
  copy: number,
  before: Root,
  now: Root,
  key: number,
): { readonly changed: readonly number[]; readonly next: number | undefined } {
  const changed: number[] = [];
  let next = key;
  while (changed.length < STEP_LEAVES) {
    const then = treeCeiling(store, before, next);
    if (then === undefined) return { changed, next: undefined };
    const index = refKey(then.block.view, then.at);
    const since = lookingInto(copy, () => treeFind(store, now, index));
    if (since === undefined || !samePlace(then, since)) {
      changed.push(index);
      store.prefetch(then.block, then.at);
      if (since !== undefined) store.prefetch(since.block, since.at);
    }
    next = index + 1;
  }
  return { changed, next };
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

/** Holds the runs that `bits` of leaf `index` mark, in pieces that no word boundary crosses. */
export function holdBits(freemap: Freemap, tid: number, index: number, bits: Uint32Array): void {
  const base = index * FREEMAP_LEAF_KIB;
  for (let word = 0; word < LEAF_WORDS; word++) {
    const marked = bits[word] as number;
    for (let bit = 0, end = 0; bit < 32; bit = end + 1) {
      end = bit;
      while (end < 32 && (marked >>> end) & 1) end++;
      if (end > bit) freemap.holdFree(tid, base + word * 32 + bit, end - bit);
    }
  }
}
