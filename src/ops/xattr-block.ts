// The block with an inode's extended attributes: decoded to a map, and the map written back to a block of the next
// power of two. Checked on decoding, as everything that was read from media (I12).

import { FsError } from "../base/errno.ts";
import { log2Ceil } from "../base/integers.ts";
import { BLOCKREF_BYTES, RefType, refSizeBytes, refType, setRefKey } from "../format/blockref.ts";
import { BLOCK_MAX_BYTES, BLOCK_MIN_BYTES, KIB } from "../format/geometry.ts";
import { INODE_XATTRS_OFFSET, inodeNumber, inodeUsedKib, setInodeUsedKib } from "../format/inode.ts";
import { offsetOf } from "../format/structure.ts";
import { XATTR_ENTRY, XATTR_ENTRY_BYTES, XATTR_HEADER, XATTR_HEADER_BYTES, XATTR_MAGIC } from "../format/xattr.ts";
import type { Block } from "../tree/block.ts";
import type { BlockStore } from "../tree/store.ts";

const MAGIC = offsetOf(XATTR_HEADER, "magic");
const COUNT = offsetOf(XATTR_HEADER, "count");
const USED_BYTES = offsetOf(XATTR_HEADER, "usedBytes");
const NAME_BYTES = offsetOf(XATTR_ENTRY, "nameBytes");
const VALUE_BYTES = offsetOf(XATTR_ENTRY, "valueBytes");

/** Values by full name (latin1). Decoded values are views of the block. */
export type XattrMap = Map<string, Uint8Array>;

function hasXattrs(inode: Block): boolean {
  return refType(inode.view, INODE_XATTRS_OFFSET) !== RefType.EMPTY;
}

/** All attributes of an inode; undefined when it has none. */
export function readXattrs(store: BlockStore, inode: Block): XattrMap | undefined {
  if (!hasXattrs(inode)) return undefined;
  return decode(store.block(inode, INODE_XATTRS_OFFSET), inodeNumber(inode.view));
}

function decode(block: Block, ino: number): XattrMap {
  const v = block.view;
  const damaged = (): FsError => new FsError("EIO", `inode ${ino}: its block of extended attributes is damaged`);
  const used = v.getUint32(USED_BYTES, true);
  const count = v.getUint32(COUNT, true);
  if (v.getUint32(MAGIC, true) !== XATTR_MAGIC || used < XATTR_HEADER_BYTES || used > block.bytes.length)
    throw damaged();
  const xattrs: XattrMap = new Map();
  let at = XATTR_HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    if (at + XATTR_ENTRY_BYTES > used) throw damaged();
    const nameAt = at + XATTR_ENTRY_BYTES;
    const valueAt = nameAt + v.getUint8(at + NAME_BYTES);
    const end = valueAt + v.getUint32(at + VALUE_BYTES, true);
    if (end > used || valueAt === nameAt) throw damaged();
    xattrs.set(latin1(block.bytes, nameAt, valueAt), block.bytes.subarray(valueAt, end));
    at = end;
  }
  return xattrs;
}

/** Decoded values are views of the block; whoever is about to change it needs them apart from it. */
export function copyXattrs(xattrs: XattrMap | undefined): XattrMap {
  const copy: XattrMap = new Map();
  for (const [name, value] of xattrs ?? []) copy.set(name, value.slice());
  return copy;
}

function latin1(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString("latin1");
}

function encode(xattrs: XattrMap): Uint8Array {
  let used = XATTR_HEADER_BYTES;
  for (const [name, value] of xattrs) used += XATTR_ENTRY_BYTES + name.length + value.length;
  if (used > BLOCK_MAX_BYTES) throw new FsError("ENOSPC", "the extended attributes of one inode exceed 64 KiB");
  const bytes = new Uint8Array(used);
  const v = new DataView(bytes.buffer);
  v.setUint32(MAGIC, XATTR_MAGIC, true);
  v.setUint32(COUNT, xattrs.size, true);
  v.setUint32(USED_BYTES, used, true);
  let at = XATTR_HEADER_BYTES;
  for (const [name, value] of xattrs) {
    v.setUint8(at + NAME_BYTES, name.length);
    v.setUint32(at + VALUE_BYTES, value.length, true);
    bytes.set(Buffer.from(name, "latin1"), at + XATTR_ENTRY_BYTES);
    bytes.set(value, at + XATTR_ENTRY_BYTES + name.length);
    at += XATTR_ENTRY_BYTES + name.length + value.length;
  }
  return bytes;
}

/** Gives a writable inode these attributes, and no others. */
export function storeXattrs(store: BlockStore, inode: Block, xattrs: XattrMap): void {
  if (xattrs.size === 0) {
    releaseXattrs(store, inode);
    return;
  }
  const encoded = encode(xattrs);
  const sizeBytes = Math.max(BLOCK_MIN_BYTES, 1 << log2Ceil(encoded.length));
  let block: Block;
  if (hasXattrs(inode) && refSizeBytes(inode.view, INODE_XATTRS_OFFSET) === sizeBytes) {
    block = store.edit(inode, INODE_XATTRS_OFFSET);
    block.bytes.fill(0, encoded.length);
  } else {
    releaseXattrs(store, inode);
    setRefKey(inode.view, INODE_XATTRS_OFFSET, 0);
    block = store.create(inode, INODE_XATTRS_OFFSET, RefType.XATTR, sizeBytes);
    setInodeUsedKib(inode.view, inodeUsedKib(inode.view) + sizeBytes / KIB);
  }
  block.bytes.set(encoded);
}

/** Frees the block of extended attributes, if there is one, of a writable inode. */
export function releaseXattrs(store: BlockStore, inode: Block): void {
  if (!hasXattrs(inode)) return;
  const kib = refSizeBytes(inode.view, INODE_XATTRS_OFFSET) / KIB;
  store.release(inode, INODE_XATTRS_OFFSET);
  inode.bytes.fill(0, INODE_XATTRS_OFFSET, INODE_XATTRS_OFFSET + BLOCKREF_BYTES);
  setInodeUsedKib(inode.view, inodeUsedKib(inode.view) - kib);
}
