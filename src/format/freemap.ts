// The free-space bitmap: one bit for each KiB of a copy, set = in use. A leaf is 4 KiB and covers 32 MiB; a leaf that
// is not in the tree is all free. The ring areas at both ends of a copy, and what lies past its end in the last leaf,
// are not marked: they are outside the range an allocator may use.

import { RING_AREA_KIB } from "./geometry.ts";

export const FREEMAP_LEAF_BYTES = 4096;
/** KiB covered by one leaf. */
export const FREEMAP_LEAF_KIB = FREEMAP_LEAF_BYTES * 8;

/** First KiB an allocator may use, and the first it may not use any more. */
export function usableRange(copyKib: number): readonly [startKib: number, endKib: number] {
  return [RING_AREA_KIB, copyKib - RING_AREA_KIB];
}

export function leafCount(copyKib: number): number {
  return Math.ceil(copyKib / FREEMAP_LEAF_KIB);
}
