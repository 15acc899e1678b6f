// What a transport may ask of the filesystem: requests by node id (= inode number), with the semantics of Linux.
// Each answers at once when everything it needs is in memory, otherwise with a promise; it throws or rejects with FsError.

import type { Timespec } from "../base/clock.ts";
import type { Eventually } from "../base/eventually.ts";
import type { Attributes } from "../ops/operation.ts";

/** Who asks. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  readonly umask: number;
  /** The kernel's number of the request, in this mount unique; 0 or absent where there is none. */
  readonly requestId?: number;
  /** The request was sent before, to a process that died and may have carried it out. */
  readonly resent?: boolean;
}

export type { Attributes };

/** Fields absent are left alone; "now" is the filesystem's own clock. */
export interface AttributeChange {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
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

export interface FileSystemStatistics {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly blocksFree: number;
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
  /** Undefined when there is no such name. Counts one lookup of the inode, to be given back by `forget`. */
  lookup(parent: number, name: Uint8Array): Eventually<Attributes | undefined>;
  /** Gives back `count` lookups; an inode without names goes with the last. */
  forget(ino: number, count: number): void;
  getAttributes(ino: number): Eventually<Attributes>;
  setAttributes(ino: number, change: AttributeChange): Eventually<Attributes>;
  readlink(ino: number): Eventually<Uint8Array>;
  /** Any kind but directories and symlinks; `mode` has the type bits. Counts a lookup. */
  makeNode(
    parent: number,
    name: Uint8Array,
    mode: number,
    rdevMajor: number,
    rdevMinor: number,
    caller: Caller,
  ): Eventually<Attributes>;
  makeDirectory(parent: number, name: Uint8Array, mode: number, caller: Caller): Eventually<Attributes>;
  makeSymlink(parent: number, name: Uint8Array, target: Uint8Array, caller: Caller): Eventually<Attributes>;
  /** An unnamed file (O_TMPFILE) in `parent`. Counts a lookup. */
  makeTemporary(parent: number, mode: number, caller: Caller): Eventually<Attributes>;
  link(ino: number, newParent: number, newName: Uint8Array, caller?: Caller): Eventually<Attributes>;
  unlink(parent: number, name: Uint8Array, caller: Caller): Eventually<void>;
  removeDirectory(parent: number, name: Uint8Array, caller: Caller): Eventually<void>;
  rename(
    parent: number,
    name: Uint8Array,
    newParent: number,
    newName: Uint8Array,
    flags: number,
    caller: Caller,
  ): Eventually<void>;
  /**
   * The pieces are to be used in the step that gets them. An answer that has to be waited for is put into `room` if that is
   * given: at least as long as what is asked for, and the answer's until it was used.
   */
  read(ino: number, offset: number, lengthBytes: number, room?: Uint8Array): Eventually<ReadResult>;
  /**
   * Takes the bytes of `data` over until the returned value (or promise) is there; the transport may reuse them after that.
   * `killPrivileges` clears setuid/setgid; `cached` is a write-back of the kernel's page cache (times and file capabilities were
   * the kernel's business when the program wrote). Returns the bytes written.
   */
  write(
    ino: number,
    offset: number,
    data: Uint8Array,
    options: { killPrivileges?: boolean; cached?: boolean },
  ): Eventually<number>;
  /** Everything completed before is durable when it resolves. */
  sync(): Promise<void>;
  /** As `sync`. It rejects also when an earlier write of this inode was lost, whoever was told of that before. */
  syncFile(ino: number): Promise<void>;
  fallocate(ino: number, offset: number, lengthBytes: number, mode: number, caller?: Caller): Eventually<void>;
  seek(ino: number, offset: number, whence: number): Eventually<number>;
  copyRange(
    ino: number,
    offset: number,
    toIno: number,
    toOffset: number,
    lengthBytes: number,
    caller?: Caller,
  ): Eventually<number>;
  /**
   * Calls `emit` for entries after `cookie` (0 = from the start, "." and ".." first) until it returns false (that entry is then not
   * taken) or the directory ends. An entry with attributes counts a lookup when it was taken; "." and ".." have none. May call `emit` again
   * from the start of the list after a miss: `reset` is called before each run.
   */
  readDirectory(
    ino: number,
    cookie: number,
    attributes: AttributesWanted,
    reset: () => void,
    emit: (entry: DirectoryEntry, attributes: Attributes | undefined) => boolean,
  ): Eventually<void>;
  /** Undefined when there is no such attribute (ENODATA): the usual answer, which an error would take longer than. */
  getXattr(ino: number, name: string): Eventually<Uint8Array | undefined>;
  /** Full names, in no particular order. */
  listXattrs(ino: number): Eventually<readonly string[]>;
  setXattr(
    ino: number,
    name: string,
    value: Uint8Array,
    flags: number,
    caller: Caller,
    killSgid: boolean,
  ): Eventually<void>;
  removeXattr(ino: number, name: string, caller: Caller): Eventually<void>;
  statistics(): FileSystemStatistics;
  /**
   * Told now and then that every request carried out so far has its answer, so that nothing is kept for a process that may follow; `all`:
   * none is under way, those sent again included.
   */
  answered?(all: boolean): void;
  /** Told that nothing more is asked until `until`, which waits for something that was asked: others must not wait for that without end. */
  holdsUp?(until: Promise<void>): void;
}
