// The filesystem as a transport sees it: requests by inode number, with the semantics of Linux. Reads look at the live
// state; every change becomes one described operation, with its inode number and times chosen here, or a chain of them.
// Permissions are the kernel's business (default_permissions); what it can't know or must not skip is checked in src/ops.

import { type Clock, SystemClock, type Timespec } from "../base/clock.ts";
import { FsError } from "../base/errno.ts";
import { after, type Eventually } from "../base/eventually.ts";
import { KIB, NAME_MAX_BYTES } from "../format/geometry.ts";
import { inodeMode, inodeNlink, inodeUid } from "../format/inode.ts";
import { pfsNextIno } from "../format/pfs.ts";
import { checkCopies, COPIES_XATTR, copiesValue } from "../ops/copies-property.ts";
import { attributesOf, inodeOf } from "../ops/inodes.ts";
import { Mode, isDirectory, isFileType, isSymlink } from "../format/mode.ts";
import { type CreateOperation, type Operation, type OperationResult, TrimPendingError } from "../ops/operation.ts";
import { readXattrs } from "../ops/xattr-block.ts";
import { checkXattrName } from "../ops/xattrs.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { pendingInodes } from "../volume/pending-inodes.ts";
import type { Volume } from "../volume/volume.ts";
import { listDirectory, lookupName } from "./listing.ts";
import { Lookups, type Use } from "./lookups.ts";
import { type RangeContext, copyRange, fallocate } from "./ranges.ts";
import { Moves } from "./moves.ts";
import { joined, prefetch, readFile, readTarget } from "./reading.ts";
import { Releases } from "./releases.ts";
import {
  type AttributeChange,
  type Attributes,
  type AttributesWanted,
  type Caller,
  type DirectoryEntry,
  type FileSystemRequests,
  type FileSystemStatistics,
  type ReadResult,
  RenameFlag,
  XattrFlag,
} from "./requests.ts";
import { seekFile } from "./seeking.ts";
import { ReadStreams } from "./streams.ts";

/** What the filesystem needs of a volume. */
export type FileSystemVolume = Pick<
  Volume,
  "view" | "apply" | "replayed" | "answered" | "urgeReads" | "barrier" | "statfs" | "transaction" | "failed"
>;

/** Unit in which statfs counts. */
const STATISTICS_BLOCK_BYTES = 4096;
const NO_DEVICE = { rdevMajor: 0, rdevMinor: 0 } as const;

/** Of writes and truncations the kernel says so itself, knowing more than who it is (CAP_FSETID). */
const keepsPrivileges = (caller: Caller | undefined): boolean => caller?.uid === 0;

type Creation = Pick<CreateOperation, "parent" | "name" | "mode" | "rdevMajor" | "rdevMinor" | "target">;

export class FileSystem implements FileSystemRequests {
  readonly #volume: FileSystemVolume;
  readonly #clock: Clock;
  readonly #lookups = new Lookups();
  readonly #releases: Releases;
  readonly #streams = new ReadStreams();
  readonly #ranges: RangeContext;
  readonly #moves = new Moves((body) => this.#view(body));
  #nextIno: number | undefined;
  /** Whether the kernel holds an inode that a process before us may have given it. */
  #isHeld: (ino: number) => Promise<boolean> = () => Promise.resolve(true);
  /** After a take-over, until all is answered that the process before us left unanswered: inodes that may be unused. */
  #doubtful: Set<number> | undefined;

  constructor(volume: FileSystemVolume, clock: Clock = new SystemClock()) {
    this.#volume = volume;
    this.#clock = clock;
    this.#releases = new Releases((operation) => volume.apply(operation));
    this.#ranges = {
      view: (body) => this.#view(body),
      apply: (operation) => this.#apply(operation),
      now: () => this.#now(),
      freeKib: () => volume.statfs().freeKib,
    };
  }

  /**
   * For a mount that goes on after its process died: what the kernel was given before is not known, so it is asked by `isHeld`
   * whether an inode without names may go; not before every request sent again is answered, which may be the first time that the
   * kernel hears of the inode. `onNote` is told of what is left for later.
   */
  async takeOver(
    isHeld: (ino: number) => Promise<boolean>,
    onNote: (line: string) => void = () => undefined,
  ): Promise<void> {
    this.#isHeld = isHeld;
    this.#doubtful = new Set();
    this.#lookups.takeOver(await this.#view((state) => pfsNextIno(state.pfs().view)));
    for await (const ino of pendingInodes(this.#volume, onNote)) await this.#goOnReleasing(ino);
  }

  /** One that can't be read is left for later, as by a mount: one bad block must not end what goes on. */
  async #goOnReleasing(ino: number): Promise<void> {
    let named: boolean;
    try {
      named = await this.#view((state) => inodeNlink(inodeOf(state, ino).view) > 0);
    } catch {
      this.#lookups.orphan(ino);
      return;
    }
    if (named) this.#releases.inBackground("trim", ino);
    else this.#letGo(ino, this.#lookups.orphan(ino));
  }

  /** Releases what unlinked files still hold, whoever had them open. The volume is closed by its owner afterwards. */
  async close(): Promise<void> {
    for (const ino of this.#lookups.takeOrphans()) this.#releases.inBackground("release", ino);
    await this.settled();
  }

  /** Resolves when no removed or truncated file is being released any more. */
  settled(): Promise<void> {
    return this.#releases.settled();
  }

  #view<T>(body: (state: PfsState) => T): Eventually<T> {
    return this.#volume.view(body);
  }

  #now(): Timespec {
    return this.#clock.now();
  }

  /** What the process before us gave for a request; it died before it could say so: once is enough. */
  #carriedOut(caller: Caller | undefined): OperationResult | undefined {
    return caller?.resent === true ? this.#volume.replayed(caller.requestId ?? 0) : undefined;
  }

  /** Carries an operation out; a truncation still being finished is finished first. */
  #apply(operation: Operation, caller?: Caller): Eventually<OperationResult> {
    const known = this.#carriedOut(caller);
    if (known !== undefined) return this.#afterwards(known);
    const conclude = (result: OperationResult): OperationResult => this.#afterwards(result);
    const retry = (error: unknown): Eventually<OperationResult> => {
      if (!(error instanceof TrimPendingError)) throw error;
      return after(this.#releases.run("trim", error.ino), () => this.#apply(operation, caller));
    };
    let result: Eventually<OperationResult>;
    try {
      result = this.#volume.apply(operation, caller?.requestId ?? 0);
    } catch (error) {
      return retry(error);
    }
    return result instanceof Promise ? result.then(conclude, retry) : conclude(result);
  }

  #afterwards(result: OperationResult): OperationResult {
    const { orphan, unfinished } = result;
    if (orphan !== undefined) this.#letGo(orphan, this.#lookups.orphan(orphan));
    // Whoever has it open goes on, with or without a name.
    if (unfinished !== undefined) this.#releases.inBackground("trim", unfinished);
    return result;
  }

  #attributes(result: OperationResult): Attributes {
    if (result.attributes === undefined) throw new FsError("EIO", "an operation gave no attributes");
    return result.attributes;
  }

  /** Inode numbers are never used again: the PFS remembers the highest, and from then on they are counted here. */
  #newIno(): Eventually<number> {
    if (this.#nextIno !== undefined) return this.#nextIno++;
    return after(
      this.#view((state) => pfsNextIno(state.pfs().view)),
      (next) => {
        this.#nextIno ??= next;
        return this.#nextIno++;
      },
    );
  }

  // ---- names

  lookup(parent: number, name: Uint8Array): Eventually<Attributes | undefined> {
    const found = this.#view((state) => lookupName(state, parent, name));
    return after(found, (attributes) => {
      if (attributes !== undefined) this.#lookups.add(attributes.ino);
      return attributes;
    });
  }

  forget(ino: number, count: number): void {
    this.#letGo(ino, this.#lookups.subtract(ino, count));
  }

  /** Removes an inode that is not used any more. */
  #letGo(ino: number, use: Use): void {
    if (use === "unused") this.#releases.inBackground("release", ino);
    if (use !== "unknown") return;
    if (this.#doubtful !== undefined) this.#doubtful.add(ino);
    else this.#askWhetherHeld(ino);
  }

  #askWhetherHeld(ino: number): void {
    void this.#isHeld(ino).then((isHeld) => {
      if (!isHeld && this.#lookups.notHeld(ino)) this.#releases.inBackground("release", ino);
    });
  }

  makeNode(
    parent: number,
    name: Uint8Array,
    mode: number,
    rdevMajor: number,
    rdevMinor: number,
    caller: Caller,
  ): Eventually<Attributes> {
    if (!isFileType(mode) || isDirectory(mode) || isSymlink(mode)) throw new FsError("EINVAL", "no type for mknod");
    const type = mode & Mode.TYPE;
    const device = type === Mode.CHARACTER || type === Mode.BLOCK ? { rdevMajor, rdevMinor } : NO_DEVICE;
    return this.#create({ parent, name, mode, ...device }, caller);
  }

  makeDirectory(parent: number, name: Uint8Array, mode: number, caller: Caller): Eventually<Attributes> {
    return this.#create({ parent, name, mode: Mode.DIRECTORY | (mode & Mode.PERMISSIONS), ...NO_DEVICE }, caller);
  }

  makeSymlink(parent: number, name: Uint8Array, target: Uint8Array, caller: Caller): Eventually<Attributes> {
    return this.#create({ parent, name, mode: Mode.SYMLINK | Mode.ACCESS, target, ...NO_DEVICE }, caller);
  }

  makeTemporary(parent: number, mode: number, caller: Caller): Eventually<Attributes> {
    return this.#create({ parent, mode: Mode.REGULAR | (mode & Mode.PERMISSIONS), ...NO_DEVICE }, caller);
  }

  #create(creation: Creation, caller: Caller): Eventually<Attributes> {
    const { uid, gid, umask } = caller;
    return after(this.#newIno(), (ino) => {
      // The kernel holds an unnamed file from the start; counted before, so that it is not released at once.
      this.#lookups.add(ino);
      const generation = this.#volume.transaction;
      const operation = { op: "create", ...creation, ino, uid, gid, umask, time: this.#now(), generation } as const;
      let result: Eventually<OperationResult>;
      try {
        result = this.#apply(operation, caller);
      } catch (error) {
        this.#lookups.subtract(ino, 1);
        throw error;
      }
      const conclude = (made: OperationResult): Attributes => {
        const attributes = this.#attributes(made);
        if (attributes.ino !== ino) {
          // The process before us made it.
          this.#lookups.subtract(ino, 1);
          this.#lookups.add(attributes.ino);
        }
        return attributes;
      };
      if (!(result instanceof Promise)) return conclude(result);
      return result.then(conclude, (error: unknown) => {
        this.#lookups.subtract(ino, 1);
        throw error;
      });
    });
  }

  link(ino: number, newParent: number, newName: Uint8Array, caller?: Caller): Eventually<Attributes> {
    const result = this.#apply({ op: "link", ino, parent: newParent, name: newName, time: this.#now() }, caller);
    return after(result, (linked) => {
      this.#lookups.named(ino);
      this.#lookups.add(ino);
      return this.#attributes(linked);
    });
  }

  unlink(parent: number, name: Uint8Array, caller: Caller): Eventually<void> {
    return after(this.#apply({ op: "unlink", parent, name, time: this.#now() }, caller), () => undefined);
  }

  removeDirectory(parent: number, name: Uint8Array, caller: Caller): Eventually<void> {
    return after(this.#apply({ op: "rmdir", parent, name, time: this.#now() }, caller), () => undefined);
  }

  rename(
    parent: number,
    name: Uint8Array,
    newParent: number,
    newName: Uint8Array,
    flags: number,
    caller: Caller,
  ): Eventually<void> {
    if ((flags & ~(RenameFlag.NOREPLACE | RenameFlag.EXCHANGE)) !== 0) throw new FsError("EINVAL", "rename flags");
    const replace = (flags & RenameFlag.NOREPLACE) === 0;
    const exchange = (flags & RenameFlag.EXCHANGE) !== 0;
    const names = { parent, name, newParent, newName };
    const operation = { op: "rename", ...names, replace, exchange, time: this.#now() } as const;
    const carryOut = (): Eventually<void> => after(this.#apply(operation, caller), () => undefined);
    // What was carried out already was allowed then.
    if (parent === newParent || this.#carriedOut(caller) !== undefined) return carryOut();
    return this.#moves.allowed(operation, carryOut);
  }

  // ---- attributes

  getAttributes(ino: number): Eventually<Attributes> {
    return this.#view((state) => attributesOf(inodeOf(state, ino)));
  }

  setAttributes(ino: number, change: AttributeChange): Eventually<Attributes> {
    const time = this.#now();
    const { atime, mtime, killPrivileges, ...rest } = change;
    const result = this.#apply({
      op: "setattr",
      ino,
      ...rest,
      ...(atime === undefined ? {} : { atime: atime === "now" ? time : atime }),
      ...(mtime === undefined ? {} : { mtime: mtime === "now" ? time : mtime }),
      killPrivileges: killPrivileges ?? false,
      time,
    });
    return after(result, (changed) => this.#attributes(changed));
  }

  readlink(ino: number): Eventually<Uint8Array> {
    return this.#view((state) => readTarget(state, ino));
  }

  // ---- content

  read(ino: number, offset: number, lengthBytes: number, room?: Uint8Array): Eventually<ReadResult> {
    let runs = 0;
    const result = this.#view((state): ReadResult => {
      runs++;
      const pieces = readFile(state, ino, offset, lengthBytes);
      // After a wait the answer is looked at a little later than here, when the blocks may have been changed.
      const stable = runs === 1 ? pieces : [joined(pieces, room)];
      let length = 0;
      for (const piece of stable) length += piece.length;
      return { pieces: stable, lengthBytes: length };
    });
    this.#readAhead(ino, offset, offset + lengthBytes);
    return result;
  }

  #readAhead(ino: number, offset: number, end: number): void {
    const range = this.#streams.note(ino, offset, end);
    if (range === undefined) return;
    try {
      const ahead = this.#view((state) => prefetch(state, ino, range[0], range[1]));
      if (ahead instanceof Promise) ahead.catch(() => undefined);
    } catch {
      // Whoever reads that part will be told.
    }
  }

  write(
    ino: number,
    offset: number,
    data: Uint8Array,
    options: { killPrivileges?: boolean; cached?: boolean },
  ): Eventually<number> {
    const { killPrivileges = false, cached = false } = options;
    const operation = { op: "write", ino, offset, data, append: false, killPrivileges } as const;
    const result = this.#apply(cached ? operation : { ...operation, time: this.#now() });
    return after(result, (written) => written.writtenBytes ?? 0);
  }

  sync(): Promise<void> {
    return this.#volume.barrier();
  }

  /** A lost write turns the whole volume read-only, after which every barrier fails: the error is sticky. */
  syncFile(_ino: number): Promise<void> {
    return this.#volume.barrier();
  }

  fallocate(ino: number, offset: number, lengthBytes: number, mode: number, caller?: Caller): Promise<void> {
    return fallocate(this.#ranges, ino, offset, lengthBytes, mode, keepsPrivileges(caller));
  }

  seek(ino: number, offset: number, whence: number): Eventually<number> {
    return seekFile((body) => this.#view(body), ino, offset, whence);
  }

  copyRange(
    ino: number,
    offset: number,
    toIno: number,
    toOffset: number,
    lengthBytes: number,
    caller?: Caller,
  ): Promise<number> {
    const keepPrivileges = keepsPrivileges(caller);
    return copyRange(this.#ranges, { ino, offset, toIno, toOffset, lengthBytes, keepPrivileges });
  }

  // ---- directories

  readDirectory(
    ino: number,
    cookie: number,
    attributes: AttributesWanted,
    reset: () => void,
    emit: (entry: DirectoryEntry, attributes: Attributes | undefined) => boolean,
  ): Eventually<void> {
    const taken: number[] = [];
    const listed = this.#view((state) => {
      reset();
      taken.length = 0;
      listDirectory(state, ino, cookie, attributes, emit, taken);
    });
    return after(listed, () => {
      for (const child of taken) this.#lookups.add(child);
    });
  }

  // ---- extended attributes

  getXattr(ino: number, name: string): Eventually<Uint8Array | undefined> {
    return this.#view((state) => {
      const inode = inodeOf(state, ino);
      checkXattrName(name, inodeMode(inode.view), false);
      if (name === COPIES_XATTR) return copiesValue(inode);
      return readXattrs(state.store, inode)?.get(name)?.slice();
    });
  }

  listXattrs(ino: number): Eventually<readonly string[]> {
    return this.#view((state) => [...(readXattrs(state.store, inodeOf(state, ino))?.keys() ?? [])]);
  }

  setXattr(
    ino: number,
    name: string,
    value: Uint8Array,
    flags: number,
    caller: Caller,
    killSgid: boolean,
  ): Eventually<void> {
    const create = (flags & XattrFlag.CREATE) !== 0;
    const replace = (flags & XattrFlag.REPLACE) !== 0;
    if (create && replace) throw new FsError("EINVAL", "CREATE with REPLACE");
    const operation = { op: "setxattr", ino, name, value, create, replace, killSgid, time: this.#now() } as const;
    const allowed = this.#allow(ino, name, caller, value);
    return after(
      after(allowed, () => this.#apply(operation, caller)),
      () => undefined,
    );
  }

  removeXattr(ino: number, name: string, caller: Caller): Eventually<void> {
    const operation = { op: "removexattr", ino, name, time: this.#now() } as const;
    const allowed = this.#allow(ino, name, caller);
    return after(
      after(allowed, () => this.#apply(operation, caller)),
      () => undefined,
    );
  }

  /** Who may write to a file may not decide for its owner how safe it is; nor may it be safer than the volume can make it. */
  #allow(ino: number, name: string, caller: Caller, value?: Uint8Array): Eventually<void> {
    if (name !== COPIES_XATTR) return;
    return this.#view((state) => {
      const owner = inodeUid(inodeOf(state, ino).view);
      if (caller.uid !== 0 && owner !== caller.uid) throw new FsError("EPERM", "only the owner sets copies");
      // What was carried out already was allowed then.
      if (value !== undefined && caller.resent !== true) checkCopies(state, value);
    });
  }

  // ---- the whole

  answered(all: boolean): void {
    this.#volume.answered(all);
    const doubtful = this.#doubtful;
    if (!all || doubtful === undefined) return;
    this.#doubtful = undefined;
    for (const ino of doubtful) this.#askWhetherHeld(ino);
  }

  holdsUp(until: Promise<void>): void {
    this.#volume.urgeReads(until);
  }

  /** Of the copy with least room: what every copy has to hold can't exceed it. */
  statistics(): FileSystemStatistics {
    const { totalKib, unusedKib, freeKib, inodeCount } = this.#volume.statfs();
    const perBlock = STATISTICS_BLOCK_BYTES / KIB;
    const free = Math.floor(freeKib / perBlock);
    return {
      blockBytes: STATISTICS_BLOCK_BYTES,
      blocks: Math.floor(totalKib / perBlock),
      // The reserve counts as free, not as available, as on ext4.
      blocksFree: Math.floor(unusedKib / perBlock),
      blocksAvailable: free,
      files: inodeCount + free,
      filesFree: free,
      nameMaxBytes: NAME_MAX_BYTES,
    };
  }
}
