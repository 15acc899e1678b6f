// Entries of one directory: found, added, removed, changed, listed. Which names may be used is decided by the callers.

import { FsError } from "../base/errno.ts";
import { equalBytes } from "../base/uuid.ts";
import {
  BLOCKSET_REFS,
  EMBEDDED_NAME_BYTES,
  REF_NAME_OFFSET,
  RefType,
  refEntryInode,
  refEntryType,
  refKey,
  refNameBytes,
  refType,
  setRefEntry,
  setRefHead,
  setRefMirrorTid,
  setRefModifyTid,
} from "../format/blockref.ts";
import {
  NAME_BLOCK_BYTES,
  NAME_BLOCK_MAGIC,
  NAME_BLOCK_MAGIC_OFFSET,
  NAME_BLOCK_NAME_OFFSET,
  NAME_KEY_SLOTS,
  nameKey,
} from "../format/dirent.ts";
import { NAME_MAX_BYTES } from "../format/geometry.ts";
import { INODE_CONTENT_OFFSET, inodeEntries, inodeNumber, setInodeEntries, setInodeSize } from "../format/inode.ts";
import type { Block } from "../tree/block.ts";
import type { BlockStore } from "../tree/store.ts";
import { treeEdit, treeInsert, treeRemove } from "../tree/tree-edit.ts";
import { type Root, treeCeiling, treeFind } from "../tree/tree.ts";
import { ENTRY_BYTES } from "./inodes.ts";

const SLASH = 0x2f;
const DOT = 0x2e;

export interface Entry {
  readonly key: number;
  readonly ino: number;
  /** d_type. */
  readonly type: number;
}

export function entriesRoot(directory: Block): Root {
  return { block: directory, at: INODE_CONTENT_OFFSET, refs: BLOCKSET_REFS };
}

/** Refuses what can't name an entry. "." and ".." are answered by whoever lists a directory; they are not entries. */
export function checkName(name: Uint8Array): void {
  if (name.length === 0) throw new FsError("ENOENT", "an empty name");
  if (name.length > NAME_MAX_BYTES) throw new FsError("ENAMETOOLONG", `a name of ${name.length} bytes`);
  if (isDots(name)) throw new FsError("EINVAL", '"." and ".." are not entries');
  if (hasSeparator(name)) throw new FsError("EINVAL", "a name with a slash or NUL in it");
}

/** False for a name, found in a directory, that only damage can have put there (I12). */
export function mayBeListed(name: Uint8Array): boolean {
  return !isDots(name) && !hasSeparator(name);
}

const isDots = (name: Uint8Array): boolean =>
  name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT));

const hasSeparator = (name: Uint8Array): boolean => name.includes(SLASH) || name.includes(0);

/** The bytes of an entry's name, valid until the next tree call; long names need their block in memory. */
export function entryName(store: BlockStore, block: Block, at: number): Uint8Array {
  const length = refNameBytes(block.view, at);
  if (length <= EMBEDDED_NAME_BYTES) return block.bytes.subarray(at + REF_NAME_OFFSET, at + REF_NAME_OFFSET + length);
  const long = store.block(block, at);
  if (long.view.getUint32(NAME_BLOCK_MAGIC_OFFSET, true) !== NAME_BLOCK_MAGIC) {
    throw new FsError("EIO", `directory entry ${refKey(block.view, at)}: its name block is damaged`);
  }
  return long.bytes.subarray(NAME_BLOCK_NAME_OFFSET, NAME_BLOCK_NAME_OFFSET + length);
}

/** The entry called `name`; undefined when there is none. */
export function findEntry(store: BlockStore, directory: Block, name: Uint8Array): Entry | undefined {
  const root = entriesRoot(directory);
  const first = nameKey(name);
  for (let next = first; next < first + NAME_KEY_SLOTS; ) {
    const found = treeCeiling(store, root, next);
    if (found === undefined) return undefined;
    const { block, at } = found;
    const v = block.view;
    const key = refKey(v, at);
    if (key >= first + NAME_KEY_SLOTS) return undefined;
    if (refType(v, at) !== RefType.DIRENT) {
      throw new FsError("EIO", `directory ${inodeNumber(directory.view)}: entry ${key} is not an entry`);
    }
    if (refNameBytes(v, at) === name.length) {
      const entry = { key, ino: refEntryInode(v, at), type: refEntryType(v, at) };
      if (equalBytes(entryName(store, block, at), name)) return entry;
    }
    next = key + 1;
  }
  return undefined;
}

/** Adds an entry to a writable directory; the name must not be in it. */
export function addEntry(store: BlockStore, directory: Block, name: Uint8Array, ino: number, type: number): void {
  const root = entriesRoot(directory);
  const { block, at } = treeInsert(store, root, freeKey(store, root, name));
  if (name.length <= EMBEDDED_NAME_BYTES) {
    setRefHead(block.view, at, RefType.DIRENT, 0, 0, 0);
    setRefModifyTid(block.view, at, store.tid);
    setRefMirrorTid(block.view, at, store.tid);
    block.bytes.set(name, at + REF_NAME_OFFSET);
  } else {
    const long = store.create(block, at, RefType.DIRENT, NAME_BLOCK_BYTES);
    long.view.setUint32(NAME_BLOCK_MAGIC_OFFSET, NAME_BLOCK_MAGIC, true);
    long.bytes.set(name, NAME_BLOCK_NAME_OFFSET);
  }
  setRefEntry(block.view, at, ino, type, name.length);
  countEntries(directory, 1);
}

function freeKey(store: BlockStore, root: Root, name: Uint8Array): number {
  const first = nameKey(name);
  for (let key = first; key < first + NAME_KEY_SLOTS; key++) {
    if (treeFind(store, root, key) === undefined) return key;
  }
  // Sixteen names of one 48-bit hash: only made on purpose. ext4 says the same when a hash chain is full.
  throw new FsError("ENOSPC", "too many names with the same hash in one directory");
}

/** Removes the entry with this key from a writable directory. */
export function removeEntry(store: BlockStore, directory: Block, key: number): void {
  const root = entriesRoot(directory);
  const found = treeEdit(store, root, key);
  if (found === undefined) throw new FsError("EIO", `directory entry ${key} vanished`);
  if (refNameBytes(found.block.view, found.at) > EMBEDDED_NAME_BYTES) store.release(found.block, found.at);
  treeRemove(store, root, key);
  countEntries(directory, -1);
}

/** Lets the entry with this key name another inode. */
export function redirectEntry(store: BlockStore, directory: Block, key: number, ino: number, type: number): void {
  const found = treeEdit(store, entriesRoot(directory), key);
  if (found === undefined) throw new FsError("EIO", `directory entry ${key} vanished`);
  const { block, at } = found;
  const nameBytes = refNameBytes(block.view, at);
  setRefEntry(block.view, at, ino, type, nameBytes);
  // A name block keeps its birth: it did not change.
  if (nameBytes > EMBEDDED_NAME_BYTES) return;
  setRefModifyTid(block.view, at, store.tid);
  setRefMirrorTid(block.view, at, store.tid);
}

function countEntries(directory: Block, change: number): void {
  const entries = inodeEntries(directory.view) + change;
  setInodeEntries(directory.view, entries);
  setInodeSize(directory.view, entries * ENTRY_BYTES);
}
