// Operations on names: create, link, unlink, rmdir. Each checks everything it relies on, changes the directory, the
// inode and their times, and says in its result whether an inode lost its last name.

import type { Timespec } from "../base/clock.ts";
import { FsError } from "../base/errno.ts";
import { entryTypeOf } from "../format/dirent.ts";
import { SYMLINK_MAX_BYTES } from "../format/geometry.ts";
import {
  InodeFlag,
  inodeCompression,
  inodeCopies,
  inodeEntries,
  inodeFlags,
  inodeGid,
  inodeMode,
  inodeNlink,
  setInodeCompression,
  setInodeCopies,
  setInodeNlink,
  setInodeParent,
  setInodeRdev,
} from "../format/inode.ts";
import { Mode, isDirectory, isFileType, isSymlink } from "../format/mode.ts";
import { ROOT_INO } from "../format/pfs.ts";
import type { Block } from "../tree/block.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { inheritAccess, storeInheritedAcls } from "./acl-inheritance.ts";
import { addEntry, checkName, findEntry, removeEntry } from "./directories.ts";
import {
  attributesOf,
  createInode,
  editInode,
  inodeOf,
  markOrphan,
  touchContent,
  touchInode,
  unmarkOrphan,
} from "./inodes.ts";
import {
  type CreateOperation,
  type LinkOperation,
  NO_RESULT,
  type OperationResult,
  type RemoveDirectoryOperation,
  type RootOperation,
  type UnlinkOperation,
} from "./operation.ts";
import { writeSymlinkTarget } from "./data.ts";

/** Names one inode may have. A directory's count includes its subdirectories' "..", so it bounds those too. */
const LINK_MAX = 0x7fff_ffff;

/** The directory, as one that may take or lose a name: ENOTDIR, or ENOENT when it was removed itself. */
export const parentOf = (state: PfsState, ino: number): Block => checkParent(inodeOf(state, ino), ino);

/** The same, writable. */
export const editParent = (state: PfsState, ino: number): Block => checkParent(editInode(state, ino), ino);

function checkParent(parent: Block, ino: number): Block {
  if (!isDirectory(inodeMode(parent.view))) throw new FsError("ENOTDIR", `inode ${ino} is not a directory`);
  if (inodeNlink(parent.view) === 0) throw new FsError("ENOENT", `directory ${ino} was removed`);
  return parent;
}

export function adjustLinks(inode: Block, change: number): number {
  const nlink = inodeNlink(inode.view) + change;
  if (nlink > LINK_MAX) throw new FsError("EMLINK");
  if (nlink < 0) throw new FsError("EIO", "an inode has more names than its count says");
  setInodeNlink(inode.view, nlink);
  return nlink;
}

/** Takes one name from an inode that is not a directory; true when it was the last. */
export function dropName(state: PfsState, ino: number, time: Timespec): boolean {
  const inode = editInode(state, ino);
  touchInode(inode, time);
  if (adjustLinks(inode, -1) > 0) return false;
  markOrphan(state, ino);
  return true;
}

/** Takes the name of an empty directory away: ENOTEMPTY when it is not. Its parent's count is the caller's business. */
export function dropDirectory(state: PfsState, ino: number, time: Timespec): void {
  const directory = editInode(state, ino);
  if (inodeEntries(directory.view) > 0) throw new FsError("ENOTEMPTY");
  setInodeNlink(directory.view, 0);
  touchInode(directory, time);
  markOrphan(state, ino);
}

export function makeRoot(state: PfsState, operation: RootOperation): OperationResult {
  const mode = Mode.DIRECTORY | (operation.mode & Mode.PERMISSIONS);
  const { uid, gid, time } = operation;
  const root = createInode(state, { ino: ROOT_INO, generation: undefined, mode, uid, gid, nlink: 2, time });
  setInodeParent(root.view, ROOT_INO);
  return { attributes: attributesOf(root) };
}

export function create(state: PfsState, operation: CreateOperation): OperationResult {
  const { name, ino, time } = operation;
  if (!isFileType(operation.mode)) throw new FsError("EINVAL", "a mode without a file type");
  // As the kernel does: a name nothing can have is refused before the directory is asked whether it still exists.
  if (name !== undefined) checkName(name);
  const parent = editParent(state, operation.parent);
  if (name !== undefined && findEntry(state.store, parent, name) !== undefined) throw new FsError("EEXIST");
  const directory = isDirectory(operation.mode);
  const { mode, access, defaults } = inheritAccess(state.store, parent, operation.mode, operation.umask);
  const setgidParent = (inodeMode(parent.view) & Mode.SETGID) !== 0;
  const inode = createInode(state, {
    ino,
    generation: operation.generation,
    mode: setgidParent && directory ? mode | Mode.SETGID : mode,
    uid: operation.uid,
    gid: setgidParent ? inodeGid(parent.view) : operation.gid,
    nlink: name === undefined ? 0 : directory ? 2 : 1,
    time,
  });
  setInodeRdev(inode.view, operation.rdevMajor, operation.rdevMinor);
  setInodeCopies(inode.view, inodeCopies(parent.view));
  setInodeCompression(inode.view, inodeCompression(parent.view));
  if (directory) setInodeParent(inode.view, operation.parent);
  storeInheritedAcls(state.store, inode, access, defaults);
  if (isSymlink(mode)) writeSymlinkTarget(state, inode, checkedTarget(operation.target));
  if (name === undefined) {
    markOrphan(state, ino);
    return { attributes: attributesOf(inode), orphan: ino };
  }
  addEntry(state.store, parent, name, ino, entryTypeOf(mode));
  if (directory) adjustLinks(parent, 1);
  touchContent(parent, time);
  return { attributes: attributesOf(inode) };
}

function checkedTarget(target: Uint8Array | undefined): Uint8Array {
  if (target === undefined || target.length === 0) throw new FsError("ENOENT", "a symbolic link to nothing");
  if (target.length > SYMLINK_MAX_BYTES) throw new FsError("ENAMETOOLONG", "a symbolic link's target is too long");
  return target;
}

/** A further name; also the first one of an unnamed file (O_TMPFILE). */
export function link(state: PfsState, operation: LinkOperation): OperationResult {
  const { ino, name, time } = operation;
  checkName(name);
  const mode = inodeMode(inodeOf(state, ino).view);
  if (isDirectory(mode)) throw new FsError("EPERM", "a directory has one name only");
  const parent = editParent(state, operation.parent);
  if (findEntry(state.store, parent, name) !== undefined) throw new FsError("EEXIST");
  const inode = editInode(state, ino);
  addEntry(state.store, parent, name, ino, entryTypeOf(mode));
  if (adjustLinks(inode, 1) === 1 && (inodeFlags(inode.view) & InodeFlag.TRIM) === 0) unmarkOrphan(state, ino);
  touchInode(inode, time);
  touchContent(parent, time);
  return { attributes: attributesOf(inode) };
}

export function unlink(state: PfsState, operation: UnlinkOperation): OperationResult {
  const { name, time } = operation;
  checkName(name);
  const parent = editParent(state, operation.parent);
  const entry = findEntry(state.store, parent, name);
  if (entry === undefined) throw new FsError("ENOENT");
  if (isDirectory(inodeMode(inodeOf(state, entry.ino).view))) throw new FsError("EISDIR");
  removeEntry(state.store, parent, entry.key);
  touchContent(parent, time);
  return dropName(state, entry.ino, time) ? { orphan: entry.ino } : NO_RESULT;
}

export function removeDirectory(state: PfsState, operation: RemoveDirectoryOperation): OperationResult {
  const { name, time } = operation;
  checkName(name);
  const parent = editParent(state, operation.parent);
  const entry = findEntry(state.store, parent, name);
  if (entry === undefined) throw new FsError("ENOENT");
  if (!isDirectory(inodeMode(inodeOf(state, entry.ino).view))) throw new FsError("ENOTDIR");
  dropDirectory(state, entry.ino, time);
  removeEntry(state.store, parent, entry.key);
  adjustLinks(parent, -1);
  touchContent(parent, time);
  return { orphan: entry.ino };
}
