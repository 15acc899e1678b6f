// Sealing a transaction: every dirty block reachable from the root image gets its check code, children before parents,
// so that the root image finally names only finished blocks. Synchronous; nothing is allocated or missing here.

import { BLOCKREF_BYTES, BLOCKSET_REFS, RefType, refIsDirty } from "../format/blockref.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { INODE_CONTENT_OFFSET, INODE_XATTRS_OFFSET, InodeFlag, inodeFlags } from "../format/inode.ts";
import { PFS_INODES_OFFSET, PFS_ORPHANS_OFFSET } from "../format/pfs.ts";
import { ROOT_FREEMAPS_OFFSET, ROOT_SUPER_OFFSET } from "../format/root-block.ts";
import type { Block } from "../tree/block.ts";
import type { BlockStore, PendingWrite } from "../tree/store.ts";

/** Seals everything dirty and returns the writes it needs, in an order that keeps neighbours together. */
export function sealAll(store: BlockStore, rootImage: Block): PendingWrite[] {
  const writes: PendingWrite[] = [];
  sealRun(store, rootImage, ROOT_SUPER_OFFSET, BLOCKSET_REFS, writes);
  sealRun(store, rootImage, ROOT_FREEMAPS_OFFSET, COPIES_MAX, writes);
  return writes;
}

function sealRun(store: BlockStore, holder: Block, at: number, refs: number, writes: PendingWrite[]): void {
  for (let ref = at; ref < at + refs * BLOCKREF_BYTES; ref += BLOCKREF_BYTES) {
    if (!refIsDirty(holder.view, ref)) continue;
    const block = store.block(holder, ref);
    sealBelow(store, block, writes);
    writes.push(store.seal(holder, ref, block));
  }
}

function sealBelow(store: BlockStore, block: Block, writes: PendingWrite[]): void {
  switch (block.type) {
    case RefType.INDIRECT:
      sealRun(store, block, 0, block.count, writes);
      return;
    case RefType.INODE:
      sealRun(store, block, INODE_XATTRS_OFFSET, 1, writes);
      if ((inodeFlags(block.view) & InodeFlag.INLINE) === 0) {
        sealRun(store, block, INODE_CONTENT_OFFSET, BLOCKSET_REFS, writes);
      }
      return;
    case RefType.PFS:
      sealRun(store, block, PFS_INODES_OFFSET, BLOCKSET_REFS, writes);
      sealRun(store, block, PFS_ORPHANS_OFFSET, BLOCKSET_REFS, writes);
      return;
    default:
      return;
  }
}
