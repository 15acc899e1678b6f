// setattr: owner, mode, times and size in one step, with what Linux lets them do to each other.

import { FsError } from "../base/errno.ts";
import {
  InodeTime,
  inodeMode,
  inodeSize,
  setInodeGid,
  setInodeMode,
  setInodeTime,
  setInodeUid,
} from "../format/inode.ts";
import { Mode, isDirectory, isRegular, isSymlink } from "../format/mode.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { clearPrivileges, setSize } from "./data.ts";
import { attributesOf, editInode } from "./inodes.ts";
import type { OperationResult, SetAttributesOperation } from "./operation.ts";
import { applyModeToAcl } from "./xattrs.ts";

export function setAttributes(state: PfsState, operation: SetAttributesOperation): OperationResult {
  const { store } = state;
  const { ino, size, time } = operation;
  const inode = editInode(state, ino);
  const v = inode.view;
  let unfinished = false;
  let resized = false;
  if (size !== undefined) {
    const mode = inodeMode(v);
    if (isDirectory(mode)) throw new FsError("EISDIR");
    if (!isRegular(mode)) throw new FsError("EINVAL", "only regular files have a size to change");
    resized = size !== inodeSize(v);
    unfinished = setSize(state, inode, size);
    if (resized) setInodeTime(v, InodeTime.MTIME, time);
  }
  if (operation.uid !== undefined) setInodeUid(v, operation.uid);
  if (operation.gid !== undefined) setInodeGid(v, operation.gid);
  const owned = operation.uid !== undefined || operation.gid !== undefined;
  if (owned || size !== undefined || operation.killPrivileges) {
    clearPrivileges(store, inode, owned || operation.killPrivileges);
  }
  if (operation.mode !== undefined) {
    const mode = inodeMode(v);
    if (isSymlink(mode)) throw new FsError("EOPNOTSUPP", "the mode of a symbolic link is fixed");
    setInodeMode(v, (mode & Mode.TYPE) | (operation.mode & Mode.PERMISSIONS));
    applyModeToAcl(store, inode, operation.mode);
  }
  if (operation.atime !== undefined) setInodeTime(v, InodeTime.ATIME, operation.atime);
  if (operation.mtime !== undefined) setInodeTime(v, InodeTime.MTIME, operation.mtime);
  if (operation.ctime !== undefined || resized || !isTruncationOnly(operation)) {
    setInodeTime(v, InodeTime.CTIME, operation.ctime ?? time);
  }
  const attributes = attributesOf(inode);
  return unfinished ? { attributes, unfinished: ino } : { attributes };
}

/**
 * To the size there is, that leaves the times alone, as on btrfs and XFS (ext4 sets them; POSIX allows both); ftruncate(2) and
 * O_TRUNC ask for new ones by themselves.
 */
function isTruncationOnly(operation: SetAttributesOperation): boolean {
  const { size, mode, uid, gid, atime, mtime, killPrivileges } = operation;
  return size !== undefined && !killPrivileges && [mode, uid, gid, atime, mtime].every((field) => field === undefined);
}
