// One bounded step of giving back what an inode without names, or a truncated file, still holds. The mark in the orphan
// tree stays until the last step, so a crash between two of them loses nothing: mount goes on where it stopped.
// That an inode without names may go only the caller of `release` knows: a program may have it open.

import { FsError } from "../base/errno.ts";
import { InodeFlag, inodeFlags, inodeMode, inodeNlink, inodeSize, setInodeFlags } from "../format/inode.ts";
import { isDirectory } from "../format/mode.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { treeCeiling } from "../tree/tree.ts";
import { RELEASE_MAX_BLOCKS } from "./data.ts";
import { entriesRoot } from "./directories.ts";
import { FileData } from "./file-data.ts";
import { editInode, findInode, removeInode, unmarkOrphan } from "./inodes.ts";
import { NO_RESULT, type OperationResult, type ReleaseOperation, type TrimOperation } from "./operation.ts";
import { releaseXattrs } from "./xattr-block.ts";

export function release(state: PfsState, operation: ReleaseOperation): OperationResult {
  const { ino } = operation;
  const found = findInode(state, ino);
  if (found === undefined) {
    unmarkOrphan(state, ino);
    return NO_RESULT;
  }
  return inodeNlink(found.view) === 0 ? removeStep(state, ino) : trim(state, { op: "trim", ino });
}

export function trim(state: PfsState, { ino }: TrimOperation): OperationResult {
  const found = findInode(state, ino);
  if (found !== undefined && (inodeFlags(found.view) & InodeFlag.TRIM) !== 0) return trimStep(state, ino);
  // Without names it stays marked until it is removed.
  if (found === undefined || inodeNlink(found.view) > 0) unmarkOrphan(state, ino);
  return NO_RESULT;
}

function removeStep(state: PfsState, ino: number): OperationResult {
  const inode = editInode(state, ino);
  const { view } = inode;
  if (isDirectory(inodeMode(view))) {
    // Entries are not blocks: freeing them as such would be ruin. Only damage leads here; fsck sorts it out.
    if (treeCeiling(state.store, entriesRoot(inode), 0) !== undefined) {
      throw new FsError("EIO", `directory ${ino} has no name but entries`);
    }
  } else if ((inodeFlags(view) & InodeFlag.INLINE) === 0) {
    if (new FileData(state.store, inode).removeLast(0, RELEASE_MAX_BLOCKS)) return { unfinished: ino };
  }
  releaseXattrs(state.store, inode);
  removeInode(state, ino);
  unmarkOrphan(state, ino);
  return NO_RESULT;
}

function trimStep(state: PfsState, ino: number): OperationResult {
  const inode = editInode(state, ino);
  const { view } = inode;
  if (new FileData(state.store, inode).removeLast(inodeSize(view), RELEASE_MAX_BLOCKS)) return { unfinished: ino };
  setInodeFlags(view, inodeFlags(view) & ~InodeFlag.TRIM);
  if (inodeNlink(view) > 0) unmarkOrphan(state, ino);
  return NO_RESULT;
}
