// Changing trees of blockrefs. The path from the root is made writable on the way down; full blocks are enlarged or
// split before they are entered, so nothing has to be repaired on the way up. Blocks double from 1 KiB to 16 KiB and
// halve again; a block emptied is released, a thin one joins its neighbour, a lone child moves up into the root.

import { assert } from "../base/assert.ts";
import { BLOCKREF_BYTES, RefType, refKey, refLevel, setRefHead, setRefKey } from "../format/blockref.ts";
import { INDIRECT_MAX_BYTES, INDIRECT_MIN_BYTES } from "../format/geometry.ts";
import { type Block, refAt } from "./block.ts";
import type { BlockStore } from "./store.ts";
import { type Position, type Root, floorIndex, rootCount, rootLevel } from "./tree.ts";

const MAX_REFS = INDIRECT_MAX_BYTES / BLOCKREF_BYTES;
/** Below a quarter full a block looks for a neighbour to join, if both together stay under three quarters. */
const THIN_REFS = MAX_REFS / 4;
const JOINED_REFS = (MAX_REFS * 3) / 4;

/** A run of refs on the way down: a root's, or all of an indirect block. */
interface Run {
  readonly block: Block;
  readonly at: number;
  readonly capacity: number;
}

const runOf = (block: Block): Run => ({ block, at: 0, capacity: block.sizeBytes / BLOCKREF_BYTES });
const rootRun = (root: Root): Run => ({ block: root.block, at: root.at, capacity: root.refs });

function runCount(run: Run): number {
  if (run.block.type === RefType.INDIRECT) return run.block.count;
  return rootCount({ block: run.block, at: run.at, refs: run.capacity });
}

/** Opens a zeroed gap for one ref at `index`; the run has room. */
function openGap(store: BlockStore, run: Run, index: number, count: number): void {
  const { block, at } = run;
  store.touch(block);
  block.bytes.copyWithin(at + refAt(index + 1), at + refAt(index), at + refAt(count));
  block.bytes.fill(0, at + refAt(index), at + refAt(index + 1));
  if (block.type === RefType.INDIRECT) block.count++;
}

function closeGap(store: BlockStore, run: Run, index: number, count: number): void {
  const { block, at } = run;
  store.touch(block);
  block.bytes.copyWithin(at + refAt(index), at + refAt(index + 1), at + refAt(count));
  block.bytes.fill(0, at + refAt(count - 1), at + refAt(count));
  if (block.type === RefType.INDIRECT) block.count--;
}

function sizeFor(refs: number): number {
  let bytes = INDIRECT_MIN_BYTES;
  while (bytes < refs * BLOCKREF_BYTES) bytes *= 2;
  return bytes;
}

/**
 * Makes room for `key` and returns its ref, zeroed but for the key, to be filled in at once. The root's block is
 * writable; the key is not in the tree.
 */
export function treeInsert(store: BlockStore, root: Root, key: number): Position {
  assert(root.block.dirty, "the root of a tree is changed before its block is writable");
  let run = rootRun(root);
  let level = rootLevel(root);
  if (runCount(run) === run.capacity && (level === 0 || childIsFull(store, run, key))) {
    pushDown(store, run, level);
    level++;
  }
  for (; level > 0; level--) run = enter(store, run, level, key);
  const count = runCount(run);
  const index = floorIndex(run.block.view, run.at, count, key) + 1;
  assert(index === 0 || refKey(run.block.view, run.at + refAt(index - 1)) !== key, `key ${key} is in the tree already`);
  openGap(store, run, index, count);
  const at = run.at + refAt(index);
  setRefKey(run.block.view, at, key);
  return { block: run.block, at };
}

/** True when the child that `key` leads to would have to be split. */
function childIsFull(store: BlockStore, run: Run, key: number): boolean {
  const index = Math.max(0, floorIndex(run.block.view, run.at, runCount(run), key));
  return store.block(run.block, run.at + refAt(index)).count === MAX_REFS;
}

/** Moves all refs of a full root run into one new indirect block. */
function pushDown(store: BlockStore, run: Run, level: number): void {
  const count = runCount(run);
  const { block, at } = run;
  store.touch(block);
  const refs = block.bytes.slice(at, at + refAt(count));
  const lowest = refKey(block.view, at);
  block.bytes.fill(0, at, at + refAt(count));
  setRefKey(block.view, at, lowest);
  setRefHead(block.view, at, RefType.INDIRECT, level + 1, 0, 0);
  const child = store.create(block, at, RefType.INDIRECT, sizeFor(count + 1));
  child.bytes.set(refs);
  child.count = count;
}

/** Steps down to the child that `key` belongs in, writable and with room for one more ref. `run` has room for one. */
function enter(store: BlockStore, run: Run, level: number, key: number): Run {
  const { block } = run;
  const index = Math.max(0, floorIndex(block.view, run.at, runCount(run), key));
  const at = run.at + refAt(index);
  if (key < refKey(block.view, at)) {
    store.touch(block);
    setRefKey(block.view, at, key);
  }
  let child = store.block(block, at);
  const full = child.count * BLOCKREF_BYTES === child.sizeBytes;
  if (!full) return runOf(store.own(block, at));
  if (child.count < MAX_REFS) return runOf(store.resize(block, at, child.sizeBytes * 2));
  child = store.edit(block, at);
  const right = split(store, run, index, child, level, key);
  return runOf(key >= refKey(right.view, 0) ? right : child);
}

/** Splits a full child: in the middle, or just before its end when keys arrive in rising order. Returns the new right one. */
function split(store: BlockStore, run: Run, index: number, child: Block, level: number, key: number): Block {
  const appending = key > refKey(child.view, refAt(child.count - 1));
  const keep = appending ? child.count - 1 : child.count >>> 1;
  const moved = child.count - keep;
  openGap(store, run, index + 1, runCount(run));
  const at = run.at + refAt(index + 1);
  setRefKey(run.block.view, at, refKey(child.view, refAt(keep)));
  setRefHead(run.block.view, at, RefType.INDIRECT, level, 0, 0);
  const right = store.create(run.block, at, RefType.INDIRECT, sizeFor(moved + 1));
  right.bytes.set(child.bytes.subarray(refAt(keep), refAt(child.count)));
  right.count = moved;
  child.bytes.fill(0, refAt(keep), refAt(child.count));
  child.count = keep;
  return right;
}

/** The item with exactly this key, its path writable, so that the ref may be changed or its block edited. */
export function treeEdit(store: BlockStore, root: Root, key: number): Position | undefined {
  const position = writablePath(store, root, key);
  if (position !== undefined) store.touch(position.block);
  return position;
}

/** The block of the item with exactly this key, writable: `treeEdit` and `edit` in one, without copying the run for undo. */
export function treeEditBlock(store: BlockStore, root: Root, key: number): Block | undefined {
  const position = writablePath(store, root, key);
  return position === undefined ? undefined : store.edit(position.block, position.at);
}

function writablePath(store: BlockStore, root: Root, key: number): Position | undefined {
  assert(root.block.dirty, "the root of a tree is changed before its block is writable");
  let run = rootRun(root);
  for (let level = rootLevel(root); ; level--) {
    const index = floorIndex(run.block.view, run.at, runCount(run), key);
    if (index < 0) return undefined;
    const at = run.at + refAt(index);
    if (level === 0) return refKey(run.block.view, at) === key ? { block: run.block, at } : undefined;
    run = runOf(store.own(run.block, at));
  }
}

/** Removes the item with exactly this key; its block, if it has one, was released before. */
export function treeRemove(store: BlockStore, root: Root, key: number): void {
  assert(root.block.dirty, "the root of a tree is changed before its block is writable");
  const path: { run: Run; index: number }[] = [];
  let run = rootRun(root);
  for (let level = rootLevel(root); ; level--) {
    const index = floorIndex(run.block.view, run.at, runCount(run), key);
    assert(index >= 0, `key ${key} is not in the tree`);
    path.push({ run, index });
    if (level === 0) break;
    run = runOf(store.own(run.block, run.at + refAt(index)));
  }
  const leaf = path.at(-1) as { run: Run; index: number };
  assert(refKey(leaf.run.block.view, leaf.run.at + refAt(leaf.index)) === key, `key ${key} is not in the tree`);
  closeGap(store, leaf.run, leaf.index, runCount(leaf.run));
  for (let depth = path.length - 1; depth > 0; depth--) {
    const parent = path[depth - 1] as { run: Run; index: number };
    tidy(store, parent.run, parent.index);
  }
  pullUp(store, root);
}

/** After a removal in child `index` of `run`: releases it when empty, joins or shrinks it when thin. */
function tidy(store: BlockStore, run: Run, index: number): void {
  const at = run.at + refAt(index);
  const child = store.block(run.block, at);
  const count = runCount(run);
  if (child.count === 0) {
    store.release(run.block, at);
    closeGap(store, run, index, count);
    return;
  }
  if (child.count < THIN_REFS && count > 1) {
    const leftIndex = index === 0 ? 0 : index - 1;
    const left = store.block(run.block, run.at + refAt(leftIndex));
    const right = store.block(run.block, run.at + refAt(leftIndex + 1));
    if (left.count + right.count <= JOINED_REFS) {
      join(store, run, leftIndex, right);
      return;
    }
  }
  if (child.count * BLOCKREF_BYTES * 4 <= child.sizeBytes && child.sizeBytes > INDIRECT_MIN_BYTES) {
    store.resize(run.block, at, child.sizeBytes / 2);
  }
}

function join(store: BlockStore, run: Run, leftIndex: number, right: Block): void {
  const leftAt = run.at + refAt(leftIndex);
  const leftCount = store.block(run.block, leftAt).count;
  const left = store.resize(
    run.block,
    leftAt,
    Math.max(sizeFor(leftCount + right.count), store.block(run.block, leftAt).sizeBytes),
  );
  left.bytes.set(right.bytes.subarray(0, refAt(right.count)), refAt(leftCount));
  left.count = leftCount + right.count;
  store.release(run.block, leftAt + BLOCKREF_BYTES);
  closeGap(store, run, leftIndex + 1, runCount(run));
}

/** While the root run is one indirect block whose refs fit into the run with a place to spare, they move up. */
function pullUp(store: BlockStore, root: Root): void {
  const { block, at } = root;
  while (rootLevel(root) > 0 && rootCount(root) === 1) {
    const child = store.block(block, at);
    if (child.count >= root.refs) return;
    const refs = child.bytes.slice(0, refAt(child.count));
    store.release(block, at);
    store.touch(block);
    block.bytes.set(refs, at);
  }
  if (rootCount(root) === 0) assert(refLevel(block.view, at) === 0, "an empty root has a level");
}
