// Operations only fsck makes: each corrects one thing that no request can bring about. They are carried out, rolled
// back and committed like all others. They trust the trees they walk, but not the block they correct.

import { FsError } from "../base/errno.ts";
import {
  BLOCKREF_BYTES,
  EMBEDDED_NAME_BYTES,
  RefType,
  refEntryInode,
  refKey,
  refNameBytes,
  refSizeBytes,
  refType,
  setRefEntry,
  setRefMirrorTid,
  setRefModifyTid,
} from "../format/blockref.ts";
import { entryTypeOf } from "../format/dirent.ts";
import {
  INODE_BYTES,
  INODE_CONTENT_OFFSET,
  INODE_XATTRS_OFFSET,
  INLINE_DATA_BYTES,
  InodeFlag,
  inodeFlags,
  inodeMode,
  inodeNlink,
  inodeSize,
  inodeUsedKib,
  setInodeEntries,
  setInodeFlags,
  setInodeNlink,
  setInodeParent,
  setInodeSize,
  setInodeUsedKib,
} from "../format/inode.ts";
import { BLOCKSET_REFS } from "../format/blockref.ts";
import { isDirectory } from "../format/mode.ts";
import { pfsInodeCount, ROOT_INO, setPfsInodeCount, setPfsNextIno } from "../format/pfs.ts";
import type { Block } from "../tree/block.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { treeFloor } from "../tree/tree.ts";
import { treeEdit, treeRemove } from "../tree/tree-edit.ts";
import { addEntry, entriesRoot, findEntry } from "./directories.ts";
import { directoryOf, editInode, inodesRoot, markOrphan, unmarkOrphan } from "./inodes.ts";
import { makeRoot } from "./names.ts";
import { type BlockPlace, relocate, replaceRun } from "./repair-trees.ts";

/** What is to be put right. */
export type RepairAction =
  /** Fields of an inode that are sums of other things. */
  | {
      readonly kind: "fields";
      readonly ino: number;
      readonly nlink?: number;
      readonly entries?: number;
      readonly size?: number;
      readonly usedKib?: number;
      readonly parent?: number;
    }
  /** A new block for an inode, with this content; the old one is not read. */
  | { readonly kind: "replace-inode"; readonly ino: number; readonly bytes: Uint8Array }
  /** Takes an inode out of the index without looking at it; what it held becomes free when freemaps are rebuilt. */
  | { readonly kind: "drop-inode"; readonly ino: number }
  /** An empty root directory instead of what inode 1 is. Its owner is root, its times are zero. */
  | { readonly kind: "root-directory" }
  /** A name for an inode that has none; a directory gets its new parent too. */
  | { readonly kind: "attach"; readonly ino: number; readonly parent: number; readonly name: Uint8Array }
  | { readonly kind: "remove-entry"; readonly directory: number; readonly key: number }
  | { readonly kind: "entry-type"; readonly directory: number; readonly key: number; readonly type: number }
  | { readonly kind: "mark"; readonly ino: number }
  | { readonly kind: "unmark"; readonly ino: number }
  /** Takes the xattr block away without looking at it. */
  | { readonly kind: "drop-xattrs"; readonly ino: number }
  /** Zeroes what follows the end of a file in its last block, and marks it for trimming. */
  | { readonly kind: "trim"; readonly ino: number }
  /** A new indirect block instead of one that breaks the rules. */
  | { readonly kind: "replace-run"; readonly place: BlockPlace; readonly refs: Uint8Array }
  /** Copies a block to a new place on every copy. */
  | { readonly kind: "relocate"; readonly place: BlockPlace }
  /** Without fields it only gives the PFS block a new place. */
  | { readonly kind: "pfs"; readonly inodeCount?: number; readonly nextIno?: number };

export interface RepairOperation {
  readonly op: "repair";
  readonly action: RepairAction;
}

/** Carries out one repair. */
export function repair(state: PfsState, action: RepairAction): void {
  switch (action.kind) {
    case "fields":
      setFields(editInode(state, action.ino), action);
      return;
    case "replace-inode":
      replaceInode(state, action.ino, action.bytes);
      return;
    case "drop-inode":
      dropInode(state, action.ino);
      return;
    case "root-directory":
      dropInode(state, ROOT_INO);
      makeRoot(state, { op: "root", mode: 0o755, uid: 0, gid: 0, time: { sec: 0, nsec: 0 } });
      return;
    case "attach":
      attach(state, action.ino, action.parent, action.name);
      return;
    case "remove-entry":
      removeEntryAt(state, action.directory, action.key);
      return;
    case "entry-type":
      setEntryType(state, action.directory, action.key, action.type);
      return;
    case "mark":
      markOrphan(state, action.ino);
      return;
    case "unmark":
      unmarkOrphan(state, action.ino);
      return;
    case "drop-xattrs":
      dropXattrs(state, action.ino);
      return;
    case "trim":
      trim(state, action.ino);
      return;
    case "replace-run":
      replaceRun(state, action.place, action.refs);
      return;
    case "relocate":
      relocate(state, action.place);
      return;
    case "pfs": {
      const { view } = state.editPfs();
      if (action.inodeCount !== undefined) setPfsInodeCount(view, action.inodeCount);
      if (action.nextIno !== undefined) setPfsNextIno(view, action.nextIno);
    }
  }
}

function setFields({ view }: Block, fields: Extract<RepairAction, { kind: "fields" }>): void {
  if (fields.nlink !== undefined) setInodeNlink(view, fields.nlink);
  if (fields.entries !== undefined) setInodeEntries(view, fields.entries);
  if (fields.size !== undefined) setInodeSize(view, fields.size);
  if (fields.usedKib !== undefined) setInodeUsedKib(view, fields.usedKib);
  if (fields.parent !== undefined) setInodeParent(view, fields.parent);
}

function replaceInode(state: PfsState, ino: number, bytes: Uint8Array): void {
  const { store } = state;
  const found = treeEdit(store, inodesRoot(state.editPfs()), ino);
  if (found === undefined) throw new FsError("ESTALE", `inode ${ino} is not in the index`);
  store.release(found.block, found.at);
  store.create(found.block, found.at, RefType.INODE, INODE_BYTES).bytes.set(bytes);
}

function dropInode(state: PfsState, ino: number): void {
  const { store } = state;
  const pfs = state.editPfs();
  const found = treeEdit(store, inodesRoot(pfs), ino);
  if (found === undefined) return;
  store.release(found.block, found.at);
  treeRemove(store, inodesRoot(pfs), ino);
  setPfsInodeCount(pfs.view, Math.max(0, pfsInodeCount(pfs.view) - 1));
  unmarkOrphan(state, ino);
}

function attach(state: PfsState, ino: number, parent: number, name: Uint8Array): void {
  // Of anything else the content would be taken for entries.
  directoryOf(state, parent);
  const directory = editInode(state, parent);
  if (findEntry(state.store, directory, name) !== undefined)
    throw new FsError("EEXIST", `directory ${parent} has that name`);
  const inode = editInode(state, ino);
  const mode = inodeMode(inode.view);
  addEntry(state.store, directory, name, ino, entryTypeOf(mode));
  if (isDirectory(mode)) {
    setInodeParent(inode.view, parent);
    setInodeNlink(inode.view, Math.max(2, inodeNlink(inode.view)));
    setInodeNlink(directory.view, inodeNlink(directory.view) + 1);
  } else setInodeNlink(inode.view, 1);
}

/** Counts of the directory, and of what was named, are left for the next look. */
function removeEntryAt(state: PfsState, ino: number, key: number): void {
  const { store } = state;
  const directory = editInode(state, ino);
  const root = entriesRoot(directory);
  const found = treeEdit(store, root, key);
  if (found === undefined) return;
  if (refSizeBytes(found.block.view, found.at) > 0) store.release(found.block, found.at);
  treeRemove(store, root, key);
}

function setEntryType(state: PfsState, ino: number, key: number, type: number): void {
  const { store } = state;
  const found = treeEdit(store, entriesRoot(editInode(state, ino)), key);
  if (found === undefined) return;
  const { view } = found.block;
  setRefEntry(view, found.at, refEntryInode(view, found.at), type, refNameBytes(view, found.at));
  // A ref with a block keeps the block's own stamp; one without is stamped itself.
  if (refNameBytes(view, found.at) > EMBEDDED_NAME_BYTES) return;
  setRefModifyTid(view, found.at, store.tid);
  setRefMirrorTid(view, found.at, store.tid);
}

function dropXattrs(state: PfsState, ino: number): void {
  const inode = editInode(state, ino);
  const { view, bytes } = inode;
  if (refType(view, INODE_XATTRS_OFFSET) === RefType.EMPTY) return;
  const kib = refSizeBytes(view, INODE_XATTRS_OFFSET) / 1024;
  state.store.release(inode, INODE_XATTRS_OFFSET);
  bytes.fill(0, INODE_XATTRS_OFFSET, INODE_XATTRS_OFFSET + BLOCKREF_BYTES);
  setInodeUsedKib(view, Math.max(0, inodeUsedKib(view) - kib));
}

function trim(state: PfsState, ino: number): void {
  const inode = editInode(state, ino);
  const { view, bytes } = inode;
  const size = inodeSize(view);
  if ((inodeFlags(view) & InodeFlag.INLINE) !== 0) {
    bytes.fill(0, INODE_CONTENT_OFFSET + Math.min(size, INLINE_DATA_BYTES), INODE_CONTENT_OFFSET + INLINE_DATA_BYTES);
    return;
  }
  const root = { block: inode, at: INODE_CONTENT_OFFSET, refs: BLOCKSET_REFS };
  const last = size === 0 ? undefined : treeFloor(state.store, root, size - 1);
  if (last !== undefined) {
    const key = refKey(last.block.view, last.at);
    if (key + refSizeBytes(last.block.view, last.at) > size) {
      const found = treeEdit(state.store, root, key);
      if (found !== undefined) state.store.edit(found.block, found.at).bytes.fill(0, size - key);
    }
  }
  setInodeFlags(view, inodeFlags(view) | InodeFlag.TRIM);
  markOrphan(state, ino);
}
