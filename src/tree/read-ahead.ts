// What to load together with a block that is missing, so that one wait brings what the next requests will ask for.
// Only queues; loading and waiting are the engine's.

import { firstPointerCopy, refPointer } from "../format/blockref.ts";
import { Block, refAt } from "./block.ts";
import type { BlockStore } from "./store.ts";
import { type Position, type Root, floorIndex, rootCount, rootLevel } from "./tree.ts";

/** Refs looked at on each side of a missing block, and how far from it their blocks may lie to be read along. */
const NEIGHBOURS = 32;
const NEIGHBOUR_KIB = 64;

/** Queues the leaf for `key` and those right of it under the same block, `leaves` in all; further up only the way there. */
export function leavesAhead(store: BlockStore, root: Root, key: number, leaves: number): void {
  let block: Block | undefined = root.block;
  let at = root.at;
  let count = rootCount(root);
  for (let level = rootLevel(root); level > 0 && block !== undefined; level--) {
    const index = Math.max(0, floorIndex(block.view, at, count, key));
    const end = level === 1 ? Math.min(count, index + leaves) : index + 1;
    for (let i = index; i < end; i++) store.prefetch(block, at + refAt(i));
    if (level === 1) return;
    block = store.want(block, at + refAt(index));
    at = 0;
    count = block?.count ?? 0;
  }
}

/** Queues the blocks of the items around `found` that lie near its own: those made together are mostly used together. */
export function neighboursAlong(store: BlockStore, root: Root, { block, at }: Position): void {
  const [from, count] = block === root.block ? [root.at, rootCount(root)] : [0, block.count];
  const copy = firstPointerCopy(block.view, at);
  const kib = refPointer(block.view, at, copy);
  const low = Math.max(from, at - refAt(NEIGHBOURS));
  const high = Math.min(from + refAt(count), at + refAt(NEIGHBOURS));
  for (let other = low; other < high; other += refAt(1)) {
    const distance = refPointer(block.view, other, copy) - kib;
    if (distance > -NEIGHBOUR_KIB && distance < NEIGHBOUR_KIB) store.prefetch(block, other);
  }
}
