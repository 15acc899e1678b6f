// Operations on the content of files: write, extend, punch; and the change of size that setattr asks for.
// Each touches a bounded number of blocks: what is larger goes on in further records.

import { FsError } from "../base/errno.ts";
import { alignDown } from "../base/integers.ts";
import { DATA_WINDOW_BYTES, FILE_SIZE_MAX } from "../format/geometry.ts";
import {
  INLINE_DATA_BYTES,
  INODE_CONTENT_OFFSET,
  InodeFlag,
  inodeFlags,
  inodeMode,
  inodeNumber,
  inodeSize,
  setInodeFlags,
  setInodeMode,
  setInodeSize,
} from "../format/inode.ts";
import type { Block } from "../tree/block.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import type { BlockStore } from "../tree/store.ts";
import { FileData, blockSizeFor, extentFrom } from "./file-data.ts";
import { editRegular, markOrphan, touchContent } from "./inodes.ts";
import { withoutPrivileges } from "./privileges.ts";
import {
  type ExtendOperation,
  NO_RESULT,
  type OperationResult,
  type PunchOperation,
  TrimPendingError,
  type WriteOperation,
} from "./operation.ts";
import { punchBlock, writeWindow } from "./window.ts";
import { CAPABILITY, dropXattr } from "./xattrs.ts";

/** Blocks that one operation frees at most. */
export const RELEASE_MAX_BLOCKS = 1024;

const isInline = (inode: Block): boolean => (inodeFlags(inode.view) & InodeFlag.INLINE) !== 0;

function setFlag(inode: Block, flag: number, on: boolean): void {
  const flags = inodeFlags(inode.view);
  setInodeFlags(inode.view, on ? flags | flag : flags & ~flag);
}

/** Refuses to go past the end of a file that still has blocks there from before it was truncated. */
function requireTrimmed(inode: Block): void {
  if ((inodeFlags(inode.view) & InodeFlag.TRIM) !== 0) throw new TrimPendingError(inodeNumber(inode.view));
}

export function write(state: PfsState, operation: WriteOperation): OperationResult {
  const { data, time } = operation;
  const inode = editRegular(state, operation.ino);
  const offset = operation.append ? inodeSize(inode.view) : operation.offset;
  if (data.length === 0) return { writtenBytes: 0 };
  writeBytes(state.store, inode, offset, data);
  // What is written back now was written before: capabilities given to the file since then are not those it had.
  if (time !== undefined) {
    clearPrivileges(state.store, inode, operation.killPrivileges);
    touchContent(inode, time);
  }
  return { writtenBytes: data.length };
}

/** What a change of content does to setuid, setgid (only if asked) and file capabilities (always). */
export function clearPrivileges(store: BlockStore, inode: Block, modeToo: boolean): void {
  if (modeToo) setInodeMode(inode.view, withoutPrivileges(inodeMode(inode.view)));
  dropXattr(store, inode, CAPABILITY);
}

export function writeSymlinkTarget(state: PfsState, inode: Block, target: Uint8Array): void {
  writeBytes(state.store, inode, 0, target);
}

function writeBytes(store: BlockStore, inode: Block, offset: number, bytes: Uint8Array): void {
  const end = offset + bytes.length;
  const oldSize = inodeSize(inode.view);
  if (end > FILE_SIZE_MAX) throw new FsError("EFBIG");
  if (end > oldSize) requireTrimmed(inode);
  const data = new FileData(store, inode);
  if (oldSize === 0 && !isInline(inode) && data.isEmpty) setFlag(inode, InodeFlag.INLINE, true);
  const newSize = Math.max(oldSize, end);
  if (isInline(inode)) {
    if (newSize <= INLINE_DATA_BYTES) {
      inode.bytes.set(bytes, INODE_CONTENT_OFFSET + offset);
      setInodeSize(inode.view, newSize);
      return;
    }
    moveOut(data, offset === 0 && end >= oldSize);
  }
  for (let from = offset; from < end; ) {
    const to = Math.min(end, alignDown(from, DATA_WINDOW_BYTES) + DATA_WINDOW_BYTES);
    const source = { bytes: bytes.subarray(from - offset, to - offset), at: from };
    writeWindow(data, { source, oldSize, newSize, streaming: end > to || end >= oldSize });
    from = to;
  }
  setInodeSize(inode.view, newSize);
}

/** Takes inline data out of the inode into a block, unless it is about to be overwritten whole. */
function moveOut(data: FileData, overwritten: boolean): void {
  const { inode } = data;
  const size = inodeSize(inode.view);
  const bytes = inode.bytes.slice(INODE_CONTENT_OFFSET, INODE_CONTENT_OFFSET + size);
  inode.bytes.fill(0, INODE_CONTENT_OFFSET, INODE_CONTENT_OFFSET + INLINE_DATA_BYTES);
  setFlag(inode, InodeFlag.INLINE, false);
  if (size > 0 && !overwritten) data.insert(0, blockSizeFor(size), [{ bytes, at: 0 }]);
}

export function extend(state: PfsState, operation: ExtendOperation): OperationResult {
  const inode = editRegular(state, operation.ino);
  if (operation.size > FILE_SIZE_MAX) throw new FsError("EFBIG");
  if (operation.size > inodeSize(inode.view)) setSize(state, inode, operation.size);
  clearPrivileges(state.store, inode, operation.keepPrivileges !== true);
  touchContent(inode, operation.time);
  return NO_RESULT;
}

/**
 * Gives a writable regular file another size. Longer: a hole. Shorter: what is left of its last block is cut, and up
 * to RELEASE_MAX_BLOCKS blocks are freed; true when more remain, which a mark then remembers.
 */
export function setSize(state: PfsState, inode: Block, size: number): boolean {
  const oldSize = inodeSize(inode.view);
  if (size > FILE_SIZE_MAX) throw new FsError("EFBIG");
  const data = new FileData(state.store, inode);
  setInodeSize(inode.view, size);
  if (size >= oldSize) {
    if (size === oldSize) return false;
    requireTrimmed(inode);
    if (isInline(inode) && size > INLINE_DATA_BYTES) {
      setInodeSize(inode.view, oldSize);
      moveOut(data, false);
      setInodeSize(inode.view, size);
    }
    return false;
  }
  if (isInline(inode)) {
    inode.bytes.fill(0, INODE_CONTENT_OFFSET + size, INODE_CONTENT_OFFSET + oldSize);
    return false;
  }
  // The window that has the new end must be right at once: writes before the end may come before the release steps.
  for (const { key, end, sizeBytes } of data.window(alignDown(size, DATA_WINDOW_BYTES)).reverse()) {
    if (key >= size) data.remove(key);
    else if (end > size) cutBlock(data, key, sizeBytes, size - key);
  }
  const more = data.removeLast(size, RELEASE_MAX_BLOCKS);
  if (more) {
    setFlag(inode, InodeFlag.TRIM, true);
    markOrphan(state, inodeNumber(inode.view));
  }
  return more;
}

/** Shortens a block to the smallest that holds its first `keptBytes`, and clears the rest. */
function cutBlock(data: FileData, key: number, sizeBytes: number, keptBytes: number): void {
  const smaller = blockSizeFor(keptBytes);
  const block = smaller < sizeBytes ? data.resize(key, smaller) : data.edit(key);
  block.bytes.fill(0, keptBytes);
}

export function punch(state: PfsState, operation: PunchOperation): OperationResult {
  const { store } = state;
  const { offset, time } = operation;
  const inode = editRegular(state, operation.ino);
  const size = inodeSize(inode.view);
  const end = Math.min(operation.end, size);
  touchContent(inode, time);
  clearPrivileges(store, inode, operation.keepPrivileges !== true);
  if (offset >= end) return NO_RESULT;
  if (isInline(inode)) {
    inode.bytes.fill(0, INODE_CONTENT_OFFSET + offset, INODE_CONTENT_OFFSET + end);
    return NO_RESULT;
  }
  const data = new FileData(store, inode);
  for (let at = offset, freed = 0; ; freed++) {
    const extent = extentFrom(store, data.root, at);
    if (extent === undefined || extent.key >= end) return NO_RESULT;
    if (freed === RELEASE_MAX_BLOCKS) return { resumeAt: extent.key > offset ? extent.key : at };
    if (extent.key >= offset && (extent.end <= end || end === size)) data.remove(extent.key);
    else punchBlock(data, extent, Math.max(offset, extent.key), Math.min(end, extent.end), size);
    at = extent.end;
  }
}
