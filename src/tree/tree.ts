// Finding in trees of blockrefs. A tree is a B+tree: its root is a run of refs embedded in another block (an inode, a
// PFS, the root image), an indirect block of level L holds refs of level L-1, level 0 are the items. Keys rise strictly;
// an indirect block's own key is a lower bound of those in it. A B+tree rather than HAMMER2's radix tree: sequential
// files fill their indirect blocks, and one rule set serves hashes, inode numbers and offsets alike (docs/architecture.md).

import { BLOCKREF_BYTES, RefType, refKey, refLevel, refType } from "../format/blockref.ts";
import { Block, refAt } from "./block.ts";
import type { BlockStore } from "./store.ts";

/** `refs` consecutive blockrefs at byte `at` of `block`. */
export interface Root {
  readonly block: Block;
  readonly at: number;
  readonly refs: number;
}

/** A ref found: byte `at` of `block`. Valid until the next change of the same tree. */
export interface Position {
  readonly block: Block;
  readonly at: number;
}

/** Refs in use in the root run. */
export function rootCount(root: Root): number {
  let count = 0;
  while (count < root.refs && refType(root.block.view, root.at + refAt(count)) !== RefType.EMPTY) count++;
  return count;
}

/** Level of the refs in the root run; 0 when it is empty. */
export function rootLevel(root: Root): number {
  return refLevel(root.block.view, root.at);
}

/** Index of the last of `count` refs from byte `at` whose key is at most `key`, or -1. */
export function floorIndex(view: DataView, at: number, count: number, key: number): number {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (refKey(view, at + middle * BLOCKREF_BYTES) <= key) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** The item with exactly this key. */
export function treeFind(store: BlockStore, root: Root, key: number): Position | undefined {
  const position = treeFloor(store, root, key);
  return position !== undefined && refKey(position.block.view, position.at) === key ? position : undefined;
}

/** The item with the greatest key that is at most `key`. */
export function treeFloor(store: BlockStore, root: Root, key: number): Position | undefined {
  let block = root.block;
  let at = root.at;
  let count = rootCount(root);
  // Where to look instead when the leaf below has only greater keys: the ref left of the path, deepest first.
  let left: Position | undefined;
  for (let level = rootLevel(root); ; level--) {
    const index = floorIndex(block.view, at, count, key);
    if (index < 0) return left === undefined ? undefined : lastOf(store, left);
    if (level === 0) return { block, at: at + refAt(index) };
    if (index > 0) left = { block, at: at + refAt(index - 1) };
    block = store.block(block, at + refAt(index));
    at = 0;
    count = block.count;
  }
}

/** The item with the smallest key that is at least `key`. */
export function treeCeiling(store: BlockStore, root: Root, key: number): Position | undefined {
  let block = root.block;
  let at = root.at;
  let count = rootCount(root);
  if (count === 0) return undefined;
  let right: Position | undefined;
  for (let level = rootLevel(root); ; level--) {
    const floor = floorIndex(block.view, at, count, key);
    if (level === 0) {
      const index = floor >= 0 && refKey(block.view, at + refAt(floor)) === key ? floor : floor + 1;
      if (index < count) return { block, at: at + refAt(index) };
      return right === undefined ? undefined : firstOf(store, right);
    }
    const index = Math.max(0, floor);
    if (index + 1 < count) right = { block, at: at + refAt(index + 1) };
    block = store.block(block, at + refAt(index));
    at = 0;
    count = block.count;
  }
}

function firstOf(store: BlockStore, from: Position): Position {
  let { block, at } = from;
  while (refLevel(block.view, at) > 0) {
    block = store.block(block, at);
    at = 0;
  }
  return { block, at };
}

function lastOf(store: BlockStore, from: Position): Position {
  let { block, at } = from;
  while (refLevel(block.view, at) > 0) {
    block = store.block(block, at);
    at = refAt(block.count - 1);
  }
  return { block, at };
}
