// What can be asked of the content of a file without changing it: reads, links' targets, what is allocated, read-ahead.
// All run over the live state and may be run again; a read asks for all its blocks before it gives up on the first.

import { FsError } from "../base/errno.ts";
import { DATA_WINDOW_BYTES } from "../format/geometry.ts";
import { INODE_CONTENT_OFFSET, InodeFlag, inodeFlags, inodeMode, inodeSize } from "../format/inode.ts";
import { ZEROS, dataRoot, extentFrom } from "../ops/file-data.ts";
import { inodeOf } from "../ops/inodes.ts";
import { isDirectory, isRegular, isSymlink } from "../format/mode.ts";
import type { Block } from "../tree/block.ts";
import { MISS } from "../tree/miss.ts";
import type { PfsState } from "../tree/pfs-state.ts";

/** The inode of a regular file; throws FsError EISDIR or EINVAL for any other. */
export function regularOf(state: PfsState, ino: number): Block {
  const inode = inodeOf(state, ino);
  const mode = inodeMode(inode.view);
  if (isDirectory(mode)) throw new FsError("EISDIR");
  if (!isRegular(mode)) throw new FsError("EINVAL", `inode ${ino} is not a regular file`);
  return inode;
}

/** Bytes [offset, offset + length) of a regular file, as far as there are any; parts of cached blocks and of zeros. */
export function readFile(state: PfsState, ino: number, offset: number, lengthBytes: number): Uint8Array[] {
  return piecesOf(state, regularOf(state, ino), offset, lengthBytes);
}

function piecesOf(state: PfsState, inode: Block, offset: number, lengthBytes: number): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  const end = Math.min(offset + lengthBytes, inodeSize(inode.view));
  if (offset >= end) return pieces;
  if ((inodeFlags(inode.view) & InodeFlag.INLINE) !== 0) {
    pieces.push(inode.bytes.subarray(INODE_CONTENT_OFFSET + offset, INODE_CONTENT_OFFSET + end));
    return pieces;
  }
  const { store } = state;
  const root = dataRoot(inode);
  let missing = false;
  for (let at = offset; at < end; ) {
    const extent = extentFrom(store, root, at);
    const holeEnd = Math.min(end, extent?.key ?? end);
    while (at < holeEnd) {
      const zeros = Math.min(holeEnd - at, ZEROS.length);
      pieces.push(ZEROS.subarray(0, zeros));
      at += zeros;
    }
    if (extent === undefined || at >= end) break;
    const to = Math.min(end, extent.end);
    const block = store.want(extent.ref.block, extent.ref.at);
    if (block === undefined) missing = true;
    else pieces.push(block.bytes.subarray(at - extent.key, to - extent.key));
    at = to;
  }
  if (missing) throw MISS;
  return pieces;
}

/** Queues the blocks of [from, to) that are not in memory. */
export function prefetch(state: PfsState, ino: number, from: number, to: number): void {
  const inode = regularOf(state, ino);
  if ((inodeFlags(inode.view) & InodeFlag.INLINE) !== 0) return;
  const root = dataRoot(inode);
  const end = Math.min(to, inodeSize(inode.view));
  for (let at = from; at < end; ) {
    const extent = extentFrom(state.store, root, at);
    if (extent === undefined || extent.key >= end) return;
    state.store.prefetch(extent.ref.block, extent.ref.at);
    at = extent.end;
  }
}

/** Extents that one look at what is allocated counts at most. */
const EXTENTS_COUNTED_MAX = 1024;

/** How many bytes of [from, end) lie in blocks, counted up to `next` only where there are many. */
export function allocated(state: PfsState, ino: number, from: number, end: number): { bytes: number; next: number } {
  const inode = regularOf(state, ino);
  if ((inodeFlags(inode.view) & InodeFlag.INLINE) !== 0) return { bytes: 0, next: end };
  const root = dataRoot(inode);
  let bytes = 0;
  let at = from;
  for (let count = 0; count < EXTENTS_COUNTED_MAX; count++) {
    const extent = extentFrom(state.store, root, at);
    if (extent === undefined || extent.key >= end) return { bytes, next: end };
    const to = Math.min(end, extent.end);
    bytes += to - Math.max(at, extent.key);
    at = to;
    if (at >= end) break;
  }
  return { bytes, next: at };
}

/** Target of a symbolic link, in memory of its own. */
export function readTarget(state: PfsState, ino: number): Uint8Array {
  const inode = inodeOf(state, ino);
  if (!isSymlink(inodeMode(inode.view))) throw new FsError("EINVAL", `inode ${ino} is not a symbolic link`);
  return joined(piecesOf(state, inode, 0, DATA_WINDOW_BYTES));
}

/** The bytes of all pieces at the beginning of `room`, or in memory of their own. */
export function joined(pieces: readonly Uint8Array[], room?: Uint8Array): Uint8Array {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  const bytes = room?.subarray(0, length) ?? new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
