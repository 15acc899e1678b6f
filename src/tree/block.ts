// One block in memory. Its place on media is in the blockref that names it, not here.

import { INODE_CONTENT_OFFSET, inodeMode } from "../format/inode.ts";
import { isDirectory } from "../format/mode.ts";
import { PFS_ORPHANS_OFFSET } from "../format/pfs.ts";
import { BLOCKREF_BYTES, RefType } from "../format/blockref.ts";
import type { BlockBuffer } from "./buffer-pool.ts";

/** Kind of a block that no blockref names: the root image. */
export const ROOT_IMAGE = 0;

export class Block {
  /** RefType of the ref that names it, or ROOT_IMAGE. */
  readonly type: number;
  readonly buffer: BlockBuffer;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** Refs in use, when it is an indirect block. */
  count = 0;
  /** Type of the items at the bottom of the tree, when it is an indirect block. */
  itemType: number = RefType.EMPTY;
  /** Changed in the open transaction; never evicted, its check code not yet computed. */
  dirty = false;
  /** It was file data on fewer copies than the volume has when it became dirty. */
  narrow = false;
  /** The transaction that gave it its place. */
  bornIn = 0;
  /** Writes of it under way, or not yet named by a durable root; its bytes must not change and its place must not be used again. */
  writing = 0;
  /** Operations that wait with it loaded; not evicted. */
  pins = 0;
  /** Second chance of the cache's clock. */
  referenced = true;
  /** Serial number of the last operation that saved its content before a change. */
  touchedIn = 0;
  /** Serial number of the operation that made it. */
  createdIn = 0;
  /** Key in the cache: first pointer and its copy. */
  cacheKey = -1;
  /** What the ref said by which it was read or last sealed (named-by.ts). */
  refHead = 0;
  checkLow = 0;
  checkHigh = 0;

  constructor(type: number, buffer: BlockBuffer) {
    this.type = type;
    this.buffer = buffer;
    this.bytes = buffer.bytes;
    this.view = buffer.view;
  }

  get sizeBytes(): number {
    return this.bytes.length;
  }
}

/** What the refs of the run at byte `at` of `holder` are when they are items: decides how their blocks are checked. */
export function itemTypeAt(holder: Block, at: number, rootSuperOffset: number): number {
  switch (holder.type) {
    case RefType.INDIRECT:
      return holder.itemType;
    case RefType.INODE:
      if (at < INODE_CONTENT_OFFSET) return RefType.XATTR;
      return isDirectory(inodeMode(holder.view)) ? RefType.DIRENT : RefType.DATA;
    case RefType.PFS:
      return at < PFS_ORPHANS_OFFSET ? RefType.INODE : RefType.ORPHAN;
    default:
      return at < rootSuperOffset ? RefType.FREEMAP : RefType.PFS;
  }
}

/** Byte offset of ref number `index` of an indirect block. */
export function refAt(index: number): number {
  return index * BLOCKREF_BYTES;
}
