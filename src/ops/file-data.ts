// The data tree of one file: blocks of 1–64 KiB by byte offset, each aligned to its size, none across a 64 KiB window.
// Keeps `usedKib` right with every block that comes or goes. Bytes past the end of the file inside a block are zero.

import { FsError } from "../base/errno.ts";
import { BLOCKSET_REFS, RefType, refKey, refSizeBytes, refType } from "../format/blockref.ts";
import { BLOCK_MAX_BYTES, BLOCK_MIN_BYTES, DATA_WINDOW_BYTES, KIB } from "../format/geometry.ts";
import {
  INODE_CONTENT_OFFSET,
  inodeCopies,
  inodeMode,
  inodeNumber,
  inodeUsedKib,
  setInodeUsedKib,
} from "../format/inode.ts";
import { isRegular } from "../format/mode.ts";
import type { Block } from "../tree/block.ts";
import { NoSpace } from "../tree/miss.ts";
import type { Placement } from "../tree/narrow.ts";
import type { BlockStore } from "../tree/store.ts";
import { treeEdit, treeInsert, treeRemove } from "../tree/tree-edit.ts";
import { type Position, type Root, treeCeiling, treeFind, treeFloor } from "../tree/tree.ts";

/** Where space is scarce, blocks get no smaller than this. */
const SCARCE_BLOCK_BYTES = 4096;

/** A block of the file: bytes [key, end). */
export interface Extent {
  readonly key: number;
  readonly end: number;
  readonly sizeBytes: number;
  /** Changed in the open transaction and still in memory only: changing it again costs nothing. */
  readonly fresh: boolean;
  /** Where its ref is, until the next change of the tree. */
  readonly ref: Position;
}

/** Bytes of the file from offset `at` on. */
export interface Source {
  readonly bytes: Uint8Array;
  readonly at: number;
}

export const ZEROS: Uint8Array = new Uint8Array(BLOCK_MAX_BYTES);

/** Smallest block that holds `bytes`. */
export function blockSizeFor(bytes: number): number {
  let size = BLOCK_MIN_BYTES;
  while (size < bytes) size *= 2;
  return size;
}

export function dataRoot(inode: Block): Root {
  return { block: inode, at: INODE_CONTENT_OFFSET, refs: BLOCKSET_REFS };
}

function extentAt(store: BlockStore, ref: Position): Extent {
  const { block, at } = ref;
  const v = block.view;
  if (refType(v, at) !== RefType.DATA) throw new FsError("EIO", "a block of a file is not data");
  const key = refKey(v, at);
  const sizeBytes = refSizeBytes(v, at);
  return { key, end: key + sizeBytes, sizeBytes, fresh: store.fresh(block, at), ref };
}

/** The first block that ends after `offset`; undefined when there is only hole from there on. */
export function extentFrom(store: BlockStore, root: Root, offset: number): Extent | undefined {
  const floor = treeFloor(store, root, offset);
  if (floor !== undefined) {
    const extent = extentAt(store, floor);
    if (extent.end > offset) return extent;
  }
  const next = treeCeiling(store, root, offset);
  return next === undefined ? undefined : extentAt(store, next);
}

export class FileData {
  readonly store: BlockStore;
  readonly inode: Block;
  readonly root: Root;
  /** Copies that what is written from now on goes to. The target of a symbolic link is on all: it is a name. */
  readonly #placement: Placement;

  /** `inode` is writable, unless only reading methods are called. */
  constructor(store: BlockStore, inode: Block) {
    this.store = store;
    this.inode = inode;
    this.root = dataRoot(inode);
    const copies = isRegular(inodeMode(inode.view)) ? inodeCopies(inode.view) : 0;
    this.#placement = { copies, seed: inodeNumber(inode.view) };
  }

  get isEmpty(): boolean {
    return treeCeiling(this.store, this.root, 0) === undefined;
  }

  /** All blocks of the window that begins at `window`. */
  window(window: number): Extent[] {
    const extents: Extent[] = [];
    for (let next = window; ; ) {
      const found = treeCeiling(this.store, this.root, next);
      if (found === undefined) return extents;
      const extent = extentAt(this.store, found);
      if (extent.key >= window + DATA_WINDOW_BYTES) return extents;
      if (extent.key < next) throw new FsError("EIO", `inode ${inodeNumber(this.inode.view)}: data blocks overlap`);
      extents.push(extent);
      next = extent.end;
    }
  }

  /** Content of the block at `key`. Stays readable in this operation even after the block was removed. */
  bytes(key: number): Uint8Array {
    const { block, at } = this.#found(treeFind(this.store, this.root, key), key);
    return this.store.block(block, at).bytes;
  }

  /** The block at `key`, writable. Where it is not fresh this may end in NoSpace; `replace` has a way out of that. */
  edit(key: number): Block {
    const { block, at } = this.#found(treeEdit(this.store, this.root, key), key);
    return this.store.edit(block, at, this.#placement);
  }

  /** The block at `key`, writable, with the part of its content that fits into `sizeBytes`. */
  resize(key: number, sizeBytes: number): Block {
    const { block, at } = this.#found(treeEdit(this.store, this.root, key), key);
    this.#use(sizeBytes - refSizeBytes(block.view, at));
    return this.store.resize(block, at, sizeBytes, this.#placement);
  }

  /** Has a finished block written now. */
  writeEarly(key: number): void {
    const { block, at } = this.#found(treeEdit(this.store, this.root, key), key);
    this.store.early.write(block, at);
  }

  /** A new block of `sizeBytes` at `key`, filled with what the sources have of it, later ones over earlier ones. */
  insert(key: number, sizeBytes: number, sources: readonly Source[]): void {
    const { block, at } = treeInsert(this.store, this.root, key);
    this.#fill(block, at, key, sizeBytes, sources);
  }

  /**
   * Puts a new block in the place of the one at `key`, which it may exceed or fall short of. False when space was so scarce that it
   * became several, with holes where the sources have nothing.
   */
  replace(key: number, sizeBytes: number, sources: readonly Source[]): boolean {
    const { block, at } = this.#found(treeEdit(this.store, this.root, key), key);
    this.#use(-refSizeBytes(block.view, at));
    this.store.release(block, at);
    return this.#fill(block, at, key, sizeBytes, sources);
  }

  /** A whole window at once, written early: into the place of `old`, if a block begins there. */
  insertWindow(key: number, bytes: Uint8Array, old: boolean): void {
    let place: Position;
    if (old) {
      place = this.#found(treeEdit(this.store, this.root, key), key);
      this.#use(-refSizeBytes(place.block.view, place.at));
      this.store.release(place.block, place.at);
    } else {
      place = treeInsert(this.store, this.root, key);
    }
    try {
      this.store.createFrom(place.block, place.at, RefType.DATA, bytes, this.#placement);
      this.#use(bytes.length);
    } catch (error) {
      if (!(error instanceof NoSpace)) throw error;
      this.#insertHalves(key, bytes.length, [{ bytes, at: key }]);
    }
  }

  remove(key: number): void {
    const { block, at } = this.#found(treeEdit(this.store, this.root, key), key);
    this.#use(-refSizeBytes(block.view, at));
    this.store.release(block, at);
    treeRemove(this.store, this.root, key);
  }

  /** Removes blocks from the end back to `fromKey`, `limit` at most; true when there are more. */
  removeLast(fromKey: number, limit: number): boolean {
    for (let removed = 0; ; removed++) {
      const last = treeFloor(this.store, this.root, Number.MAX_SAFE_INTEGER);
      if (last === undefined) return false;
      const key = refKey(last.block.view, last.at);
      if (key < fromKey) return false;
      if (removed === limit) return true;
      this.remove(key);
    }
  }

  /** False when there was no room for it in one block. */
  #fill(block: Block, at: number, key: number, sizeBytes: number, sources: readonly Source[]): boolean {
    let created: Block;
    try {
      created = this.store.create(block, at, RefType.DATA, sizeBytes, this.#placement);
    } catch (error) {
      if (!(error instanceof NoSpace) || sizeBytes <= SCARCE_BLOCK_BYTES) throw error;
      this.#insertHalves(key, sizeBytes, sources);
      return false;
    }
    this.#use(sizeBytes);
    for (const source of sources) copyOverlap(created.bytes, key, source);
    return true;
  }

  /** No room for one block in the place of the ref at `key`: two of half the size, where there is data for them. */
  #insertHalves(key: number, sizeBytes: number, sources: readonly Source[]): void {
    treeRemove(this.store, this.root, key);
    const half = sizeBytes / 2;
    for (const start of [key, key + half]) {
      const needed = sources.some(({ bytes, at }) => at < start + half && at + bytes.length > start);
      if (needed) this.insert(start, half, sources);
    }
  }

  #found(position: Position | undefined, key: number): Position {
    if (position === undefined) throw new FsError("EIO", `inode ${inodeNumber(this.inode.view)}: no block at ${key}`);
    return position;
  }

  #use(bytes: number): void {
    const v = this.inode.view;
    setInodeUsedKib(v, inodeUsedKib(v) + bytes / KIB);
  }
}

/** Copies what `source` has of the block at `key` into it. */
function copyOverlap(target: Uint8Array, key: number, source: Source): void {
  const from = Math.max(key, source.at);
  const to = Math.min(key + target.length, source.at + source.bytes.length);
  if (from < to) target.set(source.bytes.subarray(from - source.at, to - source.at), from - key);
}
