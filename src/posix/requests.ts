// What a transport may ask of the filesystem: requests by node id (= inode number), with the semantics of Linux.
// Each answers at once when everything it needs is in memory, otherwise with a promise; it throws or rejects with FsError.
//
// References. Whoever is given an inode holds lookups of it, and gives them back by `forget`; one without names lives as long as any
// is held. What counts one says so; nothing else does. An answer that reached nobody is given back by the transport.
// Of the root nothing is counted.
//
// Errors. Every request may fail with ESTALE (there is no such inode any more) and EIO (damage that no copy heals); every change also
// with EROFS (the volume can only be read) and ENOSPC (no room on a copy that must hold it; deleting always works). Where `parent` is
// no directory it is ENOTDIR, where it was removed itself ENOENT (a lookup there finds nothing). A name is ENOENT if empty,
// ENAMETOOLONG above 255 bytes, EINVAL if it is "." or "..", or has a slash or NUL in it. Further ones are with each request.
// Permissions are the kernel's business.
//
// Units. Offsets and lengths are bytes, names are bytes without a terminating NUL, times are seconds and nanoseconds since 1970.

import type { Timespec } from "../base/clock.ts";
import type { Eventually } from "../base/eventually.ts";
import type { Attributes } from "../ops/operation.ts";

/** Who asks: the owner, group and umask of what is created. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Not used where the parent has a default ACL. */
  readonly umask: number;
  /** The kernel's number of the request, in this mount unique; 0 or absent where there is none. */
  readonly requestId?: number;
  /** The request was sent before, to a process that died and may have carried it out: what that gave is the answer then. */
  readonly resent?: boolean;
}

export type { Attributes };

/** Fields absent are left alone; "now" is the filesystem's own clock. */
export interface AttributeChange {
  /** Permission bits; others are ignored. */
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Bytes; of regular files only. */
  readonly size?: number;
  readonly atime?: Timespec | "now";
  readonly mtime?: Timespec | "now";
  readonly ctime?: Timespec;
  /** The kernel asks that setuid/setgid bits be cleared with this change (FATTR_KILL_SUIDGID). */
  readonly killPrivileges?: boolean;
}

export interface DirectoryEntry {
  readonly name: Uint8Array;
  readonly ino: number;
  /** d_type. */
  readonly type: number;
  /** Position to continue after this entry; stable while the directory changes. */
  readonly cookie: number;
}

/** As statvfs(3) has them. */
export interface FileSystemStatistics {
  /** The unit of the block counts. */
  readonly blockBytes: number;
  readonly blocks: number;
  /** Not in use, the reserve included. */
  readonly blocksFree: number;
  /** What ordinary writes can still take. */
  readonly blocksAvailable: number;
  readonly files: number;
  readonly filesFree: number;
  readonly nameMaxBytes: number;
}

export const RenameFlag = { NOREPLACE: 1, EXCHANGE: 2 } as const;
export const XattrFlag = { CREATE: 1, REPLACE: 2 } as const;
export const FallocateMode = { KEEP_SIZE: 0x01, PUNCH_HOLE: 0x02, ZERO_RANGE: 0x10 } as const;
export const Seek = { DATA: 3, HOLE: 4 } as const;

/** Bytes of a read: pieces in order; a piece may be part of a cached block and must be copied before the next request. */
export interface ReadResult {
  readonly pieces: readonly Uint8Array[];
  readonly lengthBytes: number;
}

/** Which entries of a listing get their attributes: none, those before the first that would have to be read, or all. */
export type AttributesWanted = "none" | "at-hand" | "all";

export interface FileSystemRequests {
  // ---- names

  /**
   * Undefined when there is no such name. Counts one lookup of the inode. "." and ".." turn a file handle back into a node: ESTALE when
   * `parent` has no name any more.
   */
  lookup(parent: number, name: Uint8Array): Eventually<Attributes | undefined>;
  /** Gives back `count` lookups; an inode without names goes with the last. Never fails, also for more than are held. */
  forget(ino: number, count: number): void;
  /**
   * Any kind but directories and symlinks; `mode` has the type bits. Counts one lookup of the new inode. Throws EINVAL for a mode of
   * another type, EEXIST.
   */
  makeNode(
    parent: number,
    name: Uint8Array,
    mode: number,
    rdevMajor: number,
    rdevMinor: number,
    caller: Caller,
  ): Eventually<Attributes>;
  /** `mode`: permission bits. Counts one lookup of the new directory. Throws EEXIST, EMLINK for too many in `parent`. */
  makeDirectory(parent: number, name: Uint8Array, mode: number, caller: Caller): Eventually<Attributes>;
  /** Counts one lookup of the new link. Throws EEXIST, ENAMETOOLONG for a target above 4095 bytes, ENOENT for an empty one. */
  makeSymlink(parent: number, name: Uint8Array, target: Uint8Array, caller: Caller): Eventually<Attributes>;
  /** An unnamed file (O_TMPFILE) in `parent`; `mode`: permission bits. Counts one lookup, which is all that keeps it until `link`. */
  makeTemporary(parent: number, mode: number, caller: Caller): Eventually<Attributes>;
  /**
   * A further name for `ino`, or the first of an unnamed file. Counts one lookup of it, besides those held. Throws EPERM for a
   * directory, EEXIST, EMLINK.
   */
  link(ino: number, newParent: number, newName: Uint8Array, caller?: Caller): Eventually<Attributes>;
  /** Lookups of the inode stay: without names it lives until they are given back. Throws ENOENT, EISDIR. */
  unlink(parent: number, name: Uint8Array, caller: Caller): Eventually<void>;
  /** As `unlink`, of an empty directory. Throws ENOENT, ENOTDIR, ENOTEMPTY. */
  removeDirectory(parent: number, name: Uint8Array, caller: Caller): Eventually<void>;
  /**
   * `flags`: bits of RenameFlag. Lookups stay, also those of what is replaced, as by `unlink`. Throws ENOENT, EEXIST with NOREPLACE,
   * EISDIR, ENOTDIR and ENOTEMPTY for what can't replace the other, EMLINK, EINVAL for flags that are unknown or contradict
   * each other and for a directory that would lie below itself, ELOOP where damage has directories lie in a circle.
   */
  rename(
    parent: number,
    name: Uint8Array,
    newParent: number,
    newName: Uint8Array,
    flags: number,
    caller: Caller,
  ): Eventually<void>;

  // ---- attributes

  getAttributes(ino: number): Eventually<Attributes>;
  /**
   * All of the change or nothing; answers with what there is afterwards. Throws EISDIR and EINVAL for the size of what is no regular file,
   * EFBIG, EOPNOTSUPP for the mode of a symbolic link.
   */
  setAttributes(ino: number, change: AttributeChange): Eventually<Attributes>;
  /** The target in memory of its own. Throws EINVAL when it is no symbolic link. */
  readlink(ino: number): Eventually<Uint8Array>;

  // ---- content of regular files; of others EISDIR or EINVAL

  /**
   * What there is of `lengthBytes` at `offset`: less at the end of the file, nothing behind it. The pieces are to be used in the step
   * that gets them. An answer that has to be waited for is put into `room` if that is given: at least as long as what is asked for,
   * and the answer's until it was used.
   */
  read(ino: number, offset: number, lengthBytes: number, room?: Uint8Array): Eventually<ReadResult>;
  /**
   * Writes `data`, at most 1 MiB: all of it or nothing. Takes its bytes over until the returned value (or promise) is there; the transport
   * may reuse them after that. `killPrivileges` clears setuid/setgid; `cached` is a write-back of the kernel's page cache
   * (times and file capabilities were the kernel's business when the program wrote). Returns the bytes written. Throws EFBIG.
   */
  write(
    ino: number,
    offset: number,
    data: Uint8Array,
    options: { killPrivileges?: boolean; cached?: boolean },
  ): Eventually<number>;
  /** Everything completed before is durable when it resolves. Rejects with EIO when that can't be. */
  sync(): Promise<void>;
  /** As `sync`. It rejects also when an earlier write of this inode was lost, whoever was told of that before. */
  syncFile(ino: number): Promise<void>;
  /**
   * `mode`: bits of FallocateMode. Without PUNCH_HOLE or ZERO_RANGE it makes sure that there is room now, and keeps none. In steps:
   * one that fails leaves those before it done. Throws EOPNOTSUPP for other modes, EINVAL for an empty range, EFBIG.
   */
  fallocate(ino: number, offset: number, lengthBytes: number, mode: number, caller?: Caller): Eventually<void>;
  /**
   * The first offset from `offset` on that has data, or none (`whence`: Seek), by whole blocks; the end of the file counts as a hole.
   * Throws ENXIO from the end on, and where no more data follows; EINVAL for another `whence`.
   */
  seek(ino: number, offset: number, whence: number): Eventually<number>;
  /**
   * copy_file_range(2). Returns the bytes copied: fewer than asked for at the end of the source, after 16 MiB, and where a later part
   * failed. Throws EINVAL for ranges of one file that overlap, EFBIG.
   */
  copyRange(
    ino: number,
    offset: number,
    toIno: number,
    toOffset: number,
    lengthBytes: number,
    caller?: Caller,
  ): Eventually<number>;

  // ---- directories

  /**
   * Calls `emit` for entries after `cookie` (0 = from the start, "." and ".." first) until it returns false (that entry is then not
   * taken) or the directory ends. An entry with attributes counts one lookup of its inode when it was taken; "." and ".." have none.
   * May call `emit` again from the start of the list after a miss: `reset` is called before each run. An entry that no copy can
   * give is left out. Throws ENOTDIR.
   */
  readDirectory(
    ino: number,
    cookie: number,
    attributes: AttributesWanted,
    reset: () => void,
    emit: (entry: DirectoryEntry, attributes: Attributes | undefined) => boolean,
  ): Eventually<void>;

  // ---- extended attributes: full names, one latin1 character for each byte. EOPNOTSUPP for a name of a kind that is not
  // kept, EINVAL for a prefix alone, ERANGE for one that is empty or above 255 bytes.

  /** Undefined when there is no such attribute (ENODATA): the usual answer, which an error would take longer than. */
  getXattr(ino: number, name: string): Eventually<Uint8Array | undefined>;
  /** In no particular order. */
  listXattrs(ino: number): Eventually<readonly string[]>;
  /**
   * `flags`: bits of XattrFlag. `killSgid`: an access ACL clears setgid on the way. Throws EEXIST with CREATE, ENODATA with REPLACE,
   * EINVAL for both and for a value that makes no sense, E2BIG above 64 KiB, ENOSPC above 64 KiB for all of an inode's, EPERM
   * for user attributes of special files and for copies=K by others than the owner, EACCES for a default ACL of what is no directory.
   */
  setXattr(
    ino: number,
    name: string,
    value: Uint8Array,
    flags: number,
    caller: Caller,
    killSgid: boolean,
  ): Eventually<void>;
  /** Throws ENODATA when there is none of that name (an ACL that is not there may be removed), EPERM as `setXattr`. */
  removeXattr(ino: number, name: string, caller: Caller): Eventually<void>;

  // ---- the whole

  /** Of the copy with least room. Never waits. */
  statistics(): FileSystemStatistics;
  /**
   * Told now and then that every request carried out so far has its answer, so that nothing is kept for a process that may follow; `all`:
   * none is under way, those sent again included.
   */
  answered?(all: boolean): void;
  /** Told that nothing more is asked until `until`, which waits for something that was asked: others must not wait for that without end. */
  holdsUp?(until: Promise<void>): void;
}
