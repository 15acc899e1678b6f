// The inode index of the PFS: inode blocks by number, made, found and removed; and what is common to all of them.

import type { Timespec } from "../base/clock.ts";
import { assert } from "../base/assert.ts";
import { FsError } from "../base/errno.ts";
import {
  BLOCKREF_BYTES,
  BLOCKSET_REFS,
  RefType,
  refKey,
  setRefHead,
  setRefMirrorTid,
  setRefModifyTid,
} from "../format/blockref.ts";
import {
  INODE_BYTES,
  InodeFlag,
  InodeTime,
  inodeFlags,
  inodeGeneration,
  inodeGid,
  inodeMode,
  inodeNlink,
  inodeNumber,
  inodeRdevMajor,
  inodeRdevMinor,
  inodeSize,
  inodeTimeNsec,
  inodeTimeSec,
  inodeUid,
  inodeUsedKib,
  setInodeFlags,
  setInodeGeneration,
  setInodeGid,
  setInodeMagic,
  setInodeMode,
  setInodeNlink,
  setInodeNumber,
  setInodeTime,
  setInodeUid,
} from "../format/inode.ts";
import { isDirectory, isRegular } from "../format/mode.ts";
import {
  PFS_INODES_OFFSET,
  PFS_ORPHANS_OFFSET,
  pfsInodeCount,
  pfsNextIno,
  setPfsInodeCount,
  setPfsNextIno,
} from "../format/pfs.ts";
import type { Block } from "../tree/block.ts";
import { MISS } from "../tree/miss.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { neighboursAlong } from "../tree/read-ahead.ts";
import { treeEdit, treeEditBlock, treeInsert, treeRemove } from "../tree/tree-edit.ts";
import { type Root, treeCeiling, treeFind } from "../tree/tree.ts";
import type { Attributes } from "./operation.ts";

export function inodesRoot(pfs: Block): Root {
  return { block: pfs, at: PFS_INODES_OFFSET, refs: BLOCKSET_REFS };
}

export function orphansRoot(pfs: Block): Root {
  return { block: pfs, at: PFS_ORPHANS_OFFSET, refs: BLOCKSET_REFS };
}

/** The inode's block, undefined when there is no such inode. */
export function findInode(state: PfsState, ino: number): Block | undefined {
  const { store } = state;
  const root = inodesRoot(state.pfs());
  const found = treeFind(store, root, ino);
  if (found === undefined) return undefined;
  const inode = store.want(found.block, found.at);
  if (inode !== undefined) return inode;
  neighboursAlong(store, root, found);
  throw MISS;
}

/** The inode's block; ESTALE when it is gone. */
export function inodeOf(state: PfsState, ino: number): Block {
  const block = findInode(state, ino);
  if (block === undefined) throw new FsError("ESTALE", `inode ${ino} does not exist`);
  return block;
}

/** The inode's block, writable; ESTALE when it is gone. */
export function editInode(state: PfsState, ino: number): Block {
  const block = treeEditBlock(state.store, inodesRoot(state.editPfs()), ino);
  if (block === undefined) throw new FsError("ESTALE", `inode ${ino} does not exist`);
  return block;
}

/** The inode's block, which has to be a directory's: ENOTDIR otherwise. */
export function directoryOf(state: PfsState, ino: number): Block {
  const block = inodeOf(state, ino);
  if (!isDirectory(inodeMode(block.view))) throw new FsError("ENOTDIR", `inode ${ino} is not a directory`);
  return block;
}

/** The inode's block, writable, which has to be a regular file's. */
export function editRegular(state: PfsState, ino: number): Block {
  const block = editInode(state, ino);
  const mode = inodeMode(block.view);
  if (isDirectory(mode)) throw new FsError("EISDIR", `inode ${ino} is a directory`);
  if (!isRegular(mode)) throw new FsError("EINVAL", `inode ${ino} is not a regular file`);
  return block;
}

/** What every new inode is given. */
export interface NewInode {
  readonly ino: number;
  /** The transaction that it counts as made in; undefined: the one open now. */
  readonly generation: number | undefined;
  /** With the type bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly time: Timespec;
}

/** A new inode without names and without content; the caller sets what else it needs. */
export function createInode(state: PfsState, made: NewInode): Block {
  const { store } = state;
  const { ino, mode, time } = made;
  const pfs = state.editPfs();
  assert(treeFind(store, inodesRoot(pfs), ino) === undefined, `inode number ${ino} is given out twice`);
  const place = treeInsert(store, inodesRoot(pfs), ino);
  const inode = store.create(place.block, place.at, RefType.INODE, INODE_BYTES);
  const v = inode.view;
  setInodeMagic(v);
  setInodeNumber(v, ino);
  setInodeGeneration(v, made.generation ?? store.tid);
  setInodeMode(v, mode);
  setInodeUid(v, made.uid);
  setInodeGid(v, made.gid);
  setInodeNlink(v, made.nlink);
  for (const which of Object.values(InodeTime)) setInodeTime(v, which, time);
  if (!isDirectory(mode)) setInodeFlags(v, InodeFlag.INLINE);
  setPfsNextIno(pfs.view, Math.max(pfsNextIno(pfs.view), ino + 1));
  setPfsInodeCount(pfs.view, pfsInodeCount(pfs.view) + 1);
  return inode;
}

/** Takes an inode whose blocks are gone out of the index. */
export function removeInode(state: PfsState, ino: number): void {
  const { store } = state;
  const pfs = state.editPfs();
  const found = treeEdit(store, inodesRoot(pfs), ino);
  assert(found !== undefined, `inode ${ino} is not in the index`);
  store.release(found.block, found.at);
  treeRemove(store, inodesRoot(pfs), ino);
  setPfsInodeCount(pfs.view, pfsInodeCount(pfs.view) - 1);
}

/** Notes that `ino` is to be removed or trimmed, also after a crash. */
export function markOrphan(state: PfsState, ino: number): void {
  const { store } = state;
  const root = orphansRoot(state.editPfs());
  if (treeFind(store, root, ino) !== undefined) return;
  const { block, at } = treeInsert(store, root, ino);
  setRefHead(block.view, at, RefType.ORPHAN, 0, 0, 0);
  setRefModifyTid(block.view, at, store.tid);
  setRefMirrorTid(block.view, at, store.tid);
}

export function unmarkOrphan(state: PfsState, ino: number): void {
  if (treeFind(state.store, orphansRoot(state.pfs()), ino) === undefined) return;
  treeRemove(state.store, orphansRoot(state.editPfs()), ino);
}

/** The first inode from `fromIno` on that is marked as an orphan or as an unfinished truncation: mount finishes those. */
export function nextPending(state: PfsState, fromIno: number): number | undefined {
  const mark = treeCeiling(state.store, orphansRoot(state.pfs()), fromIno);
  return mark && refKey(mark.block.view, mark.at);
}

/** Sets mtime and ctime. */
export function touchContent(inode: Block, time: Timespec): void {
  setInodeTime(inode.view, InodeTime.MTIME, time);
  setInodeTime(inode.view, InodeTime.CTIME, time);
}

export function touchInode(inode: Block, time: Timespec): void {
  setInodeTime(inode.view, InodeTime.CTIME, time);
}

function timeOf(v: DataView, which: InodeTime): Timespec {
  return { sec: inodeTimeSec(v, which), nsec: inodeTimeNsec(v, which) };
}

/** What stat shows. Inline data counts as one unit of 512 bytes: some tools take a file without any for all hole. */
export function attributesOf(inode: Block): Attributes {
  const v = inode.view;
  const mode = inodeMode(v);
  const size = inodeSize(v);
  const flags = inodeFlags(v);
  const inline = (flags & InodeFlag.INLINE) !== 0 && size > 0 ? 1 : 0;
  const entryUnits = isDirectory(mode) ? Math.ceil(size / 512) : 0;
  return {
    ino: inodeNumber(v),
    generation: inodeGeneration(v),
    size,
    blocks: inodeUsedKib(v) * 2 + inline + entryUnits,
    atime: timeOf(v, InodeTime.ATIME),
    mtime: timeOf(v, InodeTime.MTIME),
    ctime: timeOf(v, InodeTime.CTIME),
    btime: timeOf(v, InodeTime.BTIME),
    mode,
    nlink: inodeNlink(v),
    uid: inodeUid(v),
    gid: inodeGid(v),
    rdevMajor: inodeRdevMajor(v),
    rdevMinor: inodeRdevMinor(v),
    isTrimming: (flags & InodeFlag.TRIM) !== 0,
  };
}

/** Bytes of one directory entry, as counted in a directory's size. */
export const ENTRY_BYTES = BLOCKREF_BYTES;
