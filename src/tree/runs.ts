// Where the blockrefs of a block in memory lie: the one place that knows it, for whoever goes down the live tree (sealing,
// dropping a copy, bringing one back).

import { BLOCKSET_REFS, RefType } from "../format/blockref.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { INODE_CONTENT_OFFSET, INODE_XATTRS_OFFSET, InodeFlag, inodeFlags } from "../format/inode.ts";
import { PFS_INODES_OFFSET, PFS_ORPHANS_OFFSET } from "../format/pfs.ts";
import { ROOT_FREEMAPS_OFFSET, ROOT_SUPER_OFFSET } from "../format/root-block.ts";
import { type Block, ROOT_IMAGE } from "./block.ts";

/** `refs` consecutive blockrefs at byte `at` of a block. */
export interface RefRun {
  readonly at: number;
  readonly refs: number;
}

const NONE: readonly RefRun[] = Object.freeze([]);
const OF_ROOT: readonly RefRun[] = Object.freeze([
  { at: ROOT_SUPER_OFFSET, refs: BLOCKSET_REFS },
  { at: ROOT_FREEMAPS_OFFSET, refs: COPIES_MAX },
]);
const OF_PFS: readonly RefRun[] = Object.freeze([
  { at: PFS_INODES_OFFSET, refs: BLOCKSET_REFS },
  { at: PFS_ORPHANS_OFFSET, refs: BLOCKSET_REFS },
]);
const OF_INODE: readonly RefRun[] = Object.freeze([
  { at: INODE_XATTRS_OFFSET, refs: 1 },
  { at: INODE_CONTENT_OFFSET, refs: BLOCKSET_REFS },
]);
const OF_INLINE_INODE: readonly RefRun[] = Object.freeze([{ at: INODE_XATTRS_OFFSET, refs: 1 }]);

/** The runs of blockrefs in `block`, in the order a walk takes them; none when its type holds no blockrefs. */
export function refRuns(block: Block): readonly RefRun[] {
  switch (block.type) {
    case ROOT_IMAGE:
      return OF_ROOT;
    case RefType.INDIRECT:
      return [{ at: 0, refs: block.count }];
    case RefType.PFS:
      return OF_PFS;
    case RefType.INODE:
      return (inodeFlags(block.view) & InodeFlag.INLINE) === 0 ? OF_INODE : OF_INLINE_INODE;
    default:
      return NONE;
  }
}

/** True for types whose blocks hold blockrefs. */
export function holdsRefs(type: number): boolean {
  return type === RefType.INDIRECT || type === RefType.INODE || type === RefType.PFS;
}
