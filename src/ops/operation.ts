// The described operations: every change of a volume is one of these plain records, with all its inputs (ids, inode
// numbers, times, names) already chosen. A record and the state before it determine the state after it, so the log can
// store records and replay them. Nothing else changes files, directories or attributes.

import type { Timespec } from "../base/clock.ts";
import { FsError } from "../base/errno.ts";
import type { RepairOperation } from "./repair.ts";

/** Makes inode 1, the root directory, in an empty PFS (mkfs). */
export interface RootOperation {
  readonly op: "root";
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly time: Timespec;
}

/** A new inode with a name, or without one (`name` absent: O_TMPFILE). */
export interface CreateOperation {
  readonly op: "create";
  readonly parent: number;
  readonly name?: Uint8Array;
  readonly ino: number;
  /** Type and permissions as asked for; the umask counts unless the parent has a default ACL. */
  readonly mode: number;
  readonly umask: number;
  readonly uid: number;
  /** Group of the caller; a setgid parent's own group takes precedence. */
  readonly gid: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** Where a symbolic link points. */
  readonly target?: Uint8Array;
  readonly time: Timespec;
  /**
   * The transaction open at first, which tells the inode from any other that ever had its number; replayed in another one it is the
   * same: the kernel calls an inode stale that comes back with another (trap 6). Absent in records of earlier versions.
   */
  readonly generation?: number;
}

export interface LinkOperation {
  readonly op: "link";
  readonly ino: number;
  readonly parent: number;
  readonly name: Uint8Array;
  readonly time: Timespec;
}

/** Removes the name of anything but a directory. */
export interface UnlinkOperation {
  readonly op: "unlink";
  readonly parent: number;
  readonly name: Uint8Array;
  readonly time: Timespec;
}

export interface RemoveDirectoryOperation {
  readonly op: "rmdir";
  readonly parent: number;
  readonly name: Uint8Array;
  readonly time: Timespec;
}

export interface RenameOperation {
  readonly op: "rename";
  readonly parent: number;
  readonly name: Uint8Array;
  readonly newParent: number;
  readonly newName: Uint8Array;
  readonly replace: boolean;
  readonly exchange: boolean;
  readonly time: Timespec;
}

/** Absent fields stay as they are. A change of size moves mtime unless it is given. */
export interface SetAttributesOperation {
  readonly op: "setattr";
  readonly ino: number;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly atime?: Timespec;
  readonly mtime?: Timespec;
  /** ctime to set; absent: `time`. */
  readonly ctime?: Timespec;
  readonly killPrivileges: boolean;
  readonly time: Timespec;
}

/** Writes `data` (at most 1 MiB) at `offset`; with `append`, which only logs of earlier versions have, at the end of the file. */
export interface WriteOperation {
  readonly op: "write";
  readonly ino: number;
  readonly offset: number;
  readonly data: Uint8Array;
  readonly append: boolean;
  readonly killPrivileges: boolean;
  /** Absent: the times stay (the kernel's page cache, written back, keeps them itself). */
  readonly time?: Timespec;
}

/**
 * Makes a regular file at least `size` bytes long; the new part is a hole. `keepPrivileges`: who asked may change a file and leave
 * it setuid and setgid; absent in records of earlier versions.
 */
export interface ExtendOperation {
  readonly op: "extend";
  readonly ino: number;
  readonly size: number;
  readonly time: Timespec;
  readonly keepPrivileges?: boolean;
}

/** Makes [offset, end) of a regular file read as zero, freeing whole blocks; a bounded part per record. `keepPrivileges`: see extend. */
export interface PunchOperation {
  readonly op: "punch";
  readonly ino: number;
  readonly offset: number;
  readonly end: number;
  readonly time: Timespec;
  readonly keepPrivileges?: boolean;
}

export interface SetXattrOperation {
  readonly op: "setxattr";
  readonly ino: number;
  /** Full name, each byte one character (latin1). */
  readonly name: string;
  readonly value: Uint8Array;
  readonly create: boolean;
  readonly replace: boolean;
  /** With an access ACL: the caller may not keep the setgid bit. */
  readonly killSgid: boolean;
  readonly time: Timespec;
}

export interface RemoveXattrOperation {
  readonly op: "removexattr";
  readonly ino: number;
  readonly name: string;
  readonly time: Timespec;
}

/**
 * One bounded step of removing an inode without names that nobody uses, or of freeing blocks past the end of a truncated file
 * with names: what a mark in the orphan tree asks for after a crash.
 */
export interface ReleaseOperation {
  readonly op: "release";
  readonly ino: number;
}

/** One bounded step of freeing blocks past the end of a truncated file, whether it has names or is only open. */
export interface TrimOperation {
  readonly op: "trim";
  readonly ino: number;
}

export type Operation =
  | RootOperation
  | CreateOperation
  | LinkOperation
  | UnlinkOperation
  | RemoveDirectoryOperation
  | RenameOperation
  | SetAttributesOperation
  | WriteOperation
  | ExtendOperation
  | PunchOperation
  | SetXattrOperation
  | RemoveXattrOperation
  | ReleaseOperation
  | TrimOperation
  | RepairOperation;

/** What stat tells of an inode. */
export interface Attributes {
  readonly ino: number;
  readonly generation: number;
  readonly size: number;
  /** Units of 512 bytes, as st_blocks. */
  readonly blocks: number;
  readonly atime: Timespec;
  readonly mtime: Timespec;
  readonly ctime: Timespec;
  readonly btime: Timespec;
  /** Type and permissions, as st_mode. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** Blocks past the end are still being given back: `blocks` will be another number, though nobody changes the file. */
  readonly isTrimming?: boolean;
}

export interface OperationResult {
  /** Of the inode made or changed, for create, link and setattr. */
  readonly attributes?: Attributes;
  /** Bytes written. */
  readonly writtenBytes?: number;
  /** An inode that has no name left: to be released once nobody uses it. */
  readonly orphan?: number;
  /** An inode that one step was not enough for: of a `release` another one should follow, of everything else a `trim`. */
  readonly unfinished?: number;
  /** Where a punch has to go on; absent when it is finished. */
  readonly resumeAt?: number;
}

export const NO_RESULT: OperationResult = Object.freeze({});

/** Operations that give space back: the engine lets them use its reserve, so that deleting always works (I10). */
export function givesSpaceBack(operation: Operation): boolean {
  switch (operation.op) {
    case "unlink":
    case "rmdir":
    case "release":
    case "trim":
    case "punch":
    case "removexattr":
    case "repair":
    // Changes of attributes take no room for good, and programs do not expect ENOSPC of chmod or close.
    case "setattr":
      return true;
    default:
      return false;
  }
}

/** The inode still has blocks past its size: trimming goes first, then the operation is tried again. */
export class TrimPendingError extends FsError {
  readonly ino: number;

  constructor(ino: number) {
    super("EBUSY", `inode ${ino} is still being truncated`);
    this.ino = ino;
  }
}
