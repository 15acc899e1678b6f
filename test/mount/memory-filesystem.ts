// A whole filesystem in memory, as plain as it can be written: what the transports are tested with, and a model of what the real
// one should answer. Permissions are the kernel's business (default_permissions), as they are for the real one.

import type { Clock, Timespec } from "../../src/base/clock.ts";
import { FsError } from "../../src/base/errno.ts";
import {
  type AttributeChange,
  type Attributes,
  type AttributesWanted,
  type Caller,
  type DirectoryEntry,
  FallocateMode,
  type FileSystemRequests,
  type FileSystemStatistics,
  type ReadResult,
  RenameFlag,
  Seek,
  XattrFlag,
} from "../../src/posix/requests.ts";
import { SparseBytes } from "./sparse-bytes.ts";

export const ROOT_NODE = 1;
const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_ISUID = 0o4000;
const S_ISGID = 0o2000;
const S_IXGRP = 0o010;
const NAME_MAX_BYTES = 255;

interface Child {
  readonly ino: number;
  readonly cookie: number;
}

class Node {
  readonly ino: number;
  mode: number;
  uid: number;
  gid: number;
  nlink = 0;
  lookups = 0;
  rdevMajor = 0;
  rdevMinor = 0;
  atime: Timespec;
  mtime: Timespec;
  ctime: Timespec;
  readonly btime: Timespec;
  readonly data = new SparseBytes();
  readonly xattrs = new Map<string, Uint8Array>();
  /** Names as latin1 strings, one character per byte; a directory's only. */
  readonly children = new Map<string, Child>();
  parent = 0;
  target: Uint8Array = new Uint8Array(0);

  constructor(ino: number, mode: number, uid: number, gid: number, now: Timespec) {
    this.ino = ino;
    this.mode = mode;
    this.uid = uid;
    this.gid = gid;
    this.atime = this.mtime = this.ctime = this.btime = now;
  }

  get type(): number {
    return this.mode & S_IFMT;
  }

  get isDirectory(): boolean {
    return this.type === S_IFDIR;
  }
}

function key(name: Uint8Array): string {
  if (name.length > NAME_MAX_BYTES) throw new FsError("ENAMETOOLONG");
  return Buffer.from(name.buffer, name.byteOffset, name.length).toString("latin1");
}

export class MemoryFileSystem implements FileSystemRequests {
  readonly #clock: Clock;
  readonly #nodes = new Map<number, Node>();
  #nextIno = ROOT_NODE + 1;
  #nextCookie = 3;
  syncs = 0;

  constructor(clock: Clock, uid = 0, gid = 0) {
    this.#clock = clock;
    const root = new Node(ROOT_NODE, S_IFDIR | 0o755, uid, gid, clock.now());
    root.nlink = 2;
    root.parent = ROOT_NODE;
    root.lookups = 1;
    this.#nodes.set(ROOT_NODE, root);
  }

  /** Nodes alive, for tests of forgetting. */
  get nodeCount(): number {
    return this.#nodes.size;
  }

  #node(ino: number): Node {
    const node = this.#nodes.get(ino);
    if (node === undefined) throw new FsError("ESTALE", `no node ${ino}`);
    return node;
  }

  #directory(ino: number): Node {
    const node = this.#node(ino);
    if (!node.isDirectory) throw new FsError("ENOTDIR");
    return node;
  }

  #regular(ino: number): Node {
    const node = this.#node(ino);
    if (node.isDirectory) throw new FsError("EISDIR");
    if (node.type !== S_IFREG) throw new FsError("EINVAL");
    return node;
  }

  #attributes(node: Node): Attributes {
    const { ino, atime, mtime, ctime, btime, mode, nlink, uid, gid, rdevMajor, rdevMinor } = node;
    const size = node.type === S_IFLNK ? node.target.length : node.data.size;
    const blocks = node.data.allocatedBytes / 512;
    return {
      ino,
      generation: 0,
      size,
      blocks,
      atime,
      mtime,
      ctime,
      btime,
      mode,
      nlink,
      uid,
      gid,
      rdevMajor,
      rdevMinor,
    };
  }

  #changed(...nodes: Node[]): void {
    const now = this.#clock.now();
    for (const node of nodes) node.ctime = now;
  }

  #modified(node: Node): void {
    node.mtime = node.ctime = this.#clock.now();
  }

  #release(node: Node): void {
    if (node.lookups <= 0 && node.nlink === 0) this.#nodes.delete(node.ino);
  }

  // Names

  lookup(parent: number, name: Uint8Array): Attributes | undefined {
    const text = key(name);
    let node: Node | undefined;
    if (text === ".") node = this.#node(parent);
    else {
      const directory = this.#directory(parent);
      node = this.#nodes.get(text === ".." ? directory.parent : (directory.children.get(text)?.ino ?? 0));
    }
    if (node === undefined) return undefined;
    node.lookups++;
    return this.#attributes(node);
  }

  forget(ino: number, count: number): void {
    const node = this.#nodes.get(ino);
    if (node === undefined || ino === ROOT_NODE) return;
    node.lookups -= count;
    this.#release(node);
  }

  #make(parent: number, mode: number, caller: Caller): Node {
    const directory = this.#directory(parent);
    const gid = directory.mode & S_ISGID ? directory.gid : caller.gid;
    const node = new Node(this.#nextIno++, mode & ~caller.umask, caller.uid, gid, this.#clock.now());
    if (node.isDirectory) node.mode |= directory.mode & S_ISGID;
    node.lookups = 1;
    return node;
  }

  #insert(parent: number, name: Uint8Array, node: Node): Attributes {
    const directory = this.#directory(parent);
    const text = key(name);
    if (directory.children.has(text)) throw new FsError("EEXIST");
    if (directory.nlink === 0) throw new FsError("ENOENT");
    directory.children.set(text, { ino: node.ino, cookie: this.#nextCookie++ });
    node.nlink++;
    if (node.isDirectory) {
      node.nlink++;
      node.parent = parent;
      directory.nlink++;
    }
    this.#nodes.set(node.ino, node);
    this.#modified(directory);
    return this.#attributes(node);
  }

  makeNode(parent: number, name: Uint8Array, mode: number, major: number, minor: number, caller: Caller): Attributes {
    const node = this.#make(parent, mode, caller);
    node.rdevMajor = major;
    node.rdevMinor = minor;
    return this.#insert(parent, name, node);
  }

  makeDirectory(parent: number, name: Uint8Array, mode: number, caller: Caller): Attributes {
    return this.#insert(parent, name, this.#make(parent, S_IFDIR | (mode & 0o7777), caller));
  }

  makeSymlink(parent: number, name: Uint8Array, target: Uint8Array, caller: Caller): Attributes {
    const node = this.#make(parent, S_IFLNK | 0o777, { uid: caller.uid, gid: caller.gid, pid: caller.pid, umask: 0 });
    node.target = target.slice();
    return this.#insert(parent, name, node);
  }

  makeTemporary(parent: number, mode: number, caller: Caller): Attributes {
    const node = this.#make(parent, S_IFREG | (mode & 0o7777), caller);
    this.#nodes.set(node.ino, node);
    return this.#attributes(node);
  }

  link(ino: number, newParent: number, newName: Uint8Array): Attributes {
    const node = this.#node(ino);
    if (node.isDirectory) throw new FsError("EPERM");
    this.#insert(newParent, newName, node);
    this.#changed(node);
    node.lookups++;
    return this.#attributes(node);
  }

  #child(parent: Node, text: string): Node {
    const child = parent.children.get(text);
    if (child === undefined) throw new FsError("ENOENT");
    return this.#node(child.ino);
  }

  #remove(parent: Node, text: string, node: Node): void {
    parent.children.delete(text);
    node.nlink--;
    if (node.isDirectory) {
      node.nlink--;
      parent.nlink--;
    }
    this.#modified(parent);
    this.#changed(node);
    this.#release(node);
  }

  unlink(parent: number, name: Uint8Array): void {
    const directory = this.#directory(parent);
    const node = this.#child(directory, key(name));
    if (node.isDirectory) throw new FsError("EISDIR");
    this.#remove(directory, key(name), node);
  }

  removeDirectory(parent: number, name: Uint8Array): void {
    const directory = this.#directory(parent);
    const node = this.#child(directory, key(name));
    if (!node.isDirectory) throw new FsError("ENOTDIR");
    if (node.children.size > 0) throw new FsError("ENOTEMPTY");
    this.#remove(directory, key(name), node);
  }

  rename(parent: number, name: Uint8Array, newParent: number, newName: Uint8Array, flags: number): void {
    const from = this.#directory(parent);
    const to = this.#directory(newParent);
    if (to.nlink === 0) throw new FsError("ENOENT");
    const node = this.#child(from, key(name));
    const other = to.children.has(key(newName)) ? this.#child(to, key(newName)) : undefined;
    if (flags & ~(RenameFlag.NOREPLACE | RenameFlag.EXCHANGE)) throw new FsError("EINVAL");
    if (this.#isInside(to, node)) throw new FsError("EINVAL");
    if (flags & RenameFlag.EXCHANGE) return this.#exchange(from, key(name), node, to, key(newName), other);
    if (other !== undefined && flags & RenameFlag.NOREPLACE) throw new FsError("EEXIST");
    if (other === node) return;
    if (other !== undefined) {
      if (other.isDirectory && !node.isDirectory) throw new FsError("EISDIR");
      if (!other.isDirectory && node.isDirectory) throw new FsError("ENOTDIR");
      if (other.children.size > 0) throw new FsError("ENOTEMPTY");
      this.#remove(to, key(newName), other);
    }
    from.children.delete(key(name));
    to.children.set(key(newName), { ino: node.ino, cookie: this.#nextCookie++ });
    this.#moved(node, from, to);
    this.#modified(from);
    this.#modified(to);
    this.#changed(node);
  }

  #exchange(from: Node, name: string, node: Node, to: Node, newName: string, other: Node | undefined): void {
    if (other === undefined) throw new FsError("ENOENT");
    if (this.#isInside(from, other)) throw new FsError("EINVAL");
    const cookie = (parent: Node, text: string): number => parent.children.get(text)?.cookie ?? 0;
    const cookies = [cookie(from, name), cookie(to, newName)] as const;
    from.children.set(name, { ino: other.ino, cookie: cookies[0] });
    to.children.set(newName, { ino: node.ino, cookie: cookies[1] });
    this.#moved(node, from, to);
    this.#moved(other, to, from);
    this.#modified(from);
    this.#modified(to);
    this.#changed(node, other);
  }

  #moved(node: Node, from: Node, to: Node): void {
    if (!node.isDirectory || from === to) return;
    node.parent = to.ino;
    from.nlink--;
    to.nlink++;
  }

  #isInside(directory: Node, ancestor: Node): boolean {
    for (let at = directory; ; at = this.#node(at.parent)) {
      if (at === ancestor) return true;
      if (at.ino === ROOT_NODE) return false;
    }
  }

  // Attributes

  getAttributes(ino: number): Attributes {
    return this.#attributes(this.#node(ino));
  }

  setAttributes(ino: number, change: AttributeChange): Attributes {
    const node = this.#node(ino);
    const now = this.#clock.now();
    if (change.size !== undefined) {
      this.#regular(ino).data.truncate(change.size);
      node.mtime = now;
    }
    if (change.mode !== undefined) node.mode = node.type | (change.mode & 0o7777);
    if (change.killPrivileges === true) this.#killPrivileges(node);
    if (change.uid !== undefined) node.uid = change.uid;
    if (change.gid !== undefined) node.gid = change.gid;
    if (change.atime !== undefined) node.atime = change.atime === "now" ? now : change.atime;
    if (change.mtime !== undefined) node.mtime = change.mtime === "now" ? now : change.mtime;
    node.ctime = change.ctime ?? now;
    return this.#attributes(node);
  }

  #killPrivileges(node: Node): void {
    node.mode &= ~S_ISUID;
    if (node.mode & S_IXGRP) node.mode &= ~S_ISGID;
  }

  readlink(ino: number): Uint8Array {
    const node = this.#node(ino);
    if (node.type !== S_IFLNK) throw new FsError("EINVAL");
    return node.target;
  }

  statistics(): FileSystemStatistics {
    const blocks = { blockBytes: 4096, blocks: 1 << 20, blocksFree: 1 << 19, blocksAvailable: 1 << 18 };
    return { ...blocks, files: this.#nodes.size, filesFree: 1 << 20, nameMaxBytes: NAME_MAX_BYTES };
  }

  // Data

  read(ino: number, offset: number, lengthBytes: number): ReadResult {
    const bytes = this.#regular(ino).data.read(offset, lengthBytes);
    return { pieces: [bytes], lengthBytes: bytes.length };
  }

  write(
    ino: number,
    offset: number,
    data: Uint8Array,
    options: { append?: boolean; killPrivileges?: boolean; cached?: boolean },
  ): number {
    const node = this.#regular(ino);
    node.data.write(options.append === true ? node.data.size : offset, data);
    if (options.killPrivileges === true) this.#killPrivileges(node);
    if (options.cached !== true) this.#modified(node);
    return data.length;
  }

  sync(): Promise<void> {
    this.syncs++;
    return Promise.resolve();
  }

  syncFile(): Promise<void> {
    return this.sync();
  }

  fallocate(ino: number, offset: number, lengthBytes: number, mode: number): void {
    const node = this.#regular(ino);
    const known = FallocateMode.KEEP_SIZE | FallocateMode.PUNCH_HOLE | FallocateMode.ZERO_RANGE;
    if (mode & ~known) throw new FsError("EOPNOTSUPP");
    if (mode & (FallocateMode.PUNCH_HOLE | FallocateMode.ZERO_RANGE)) node.data.punch(offset, lengthBytes);
    if (!(mode & FallocateMode.PUNCH_HOLE)) node.data.allocate(offset, lengthBytes);
    if (!(mode & FallocateMode.KEEP_SIZE)) node.data.truncate(Math.max(node.data.size, offset + lengthBytes));
    this.#modified(node);
  }

  seek(ino: number, offset: number, whence: number): number {
    const data = this.#regular(ino).data;
    if (offset >= data.size) throw new FsError("ENXIO");
    const found = whence === Seek.DATA ? data.nextData(offset) : data.nextHole(offset);
    if (found === undefined) throw new FsError("ENXIO");
    return found;
  }

  copyRange(ino: number, offset: number, toIno: number, toOffset: number, lengthBytes: number): number {
    const bytes = this.#regular(ino).data.read(offset, lengthBytes);
    this.#regular(toIno).data.write(toOffset, bytes);
    this.#modified(this.#node(toIno));
    return bytes.length;
  }

  // Directories

  readDirectory(
    ino: number,
    cookie: number,
    attributes: AttributesWanted,
    reset: () => void,
    emit: (entry: DirectoryEntry, attributes: Attributes | undefined) => boolean,
  ): void {
    const withAttributes = attributes !== "none";
    const directory = this.#directory(ino);
    reset();
    const dots = [
      { name: Buffer.from("."), ino, type: S_IFDIR >> 12, cookie: 1 },
      { name: Buffer.from(".."), ino: directory.parent, type: S_IFDIR >> 12, cookie: 2 },
    ];
    for (const entry of dots) if (entry.cookie > cookie && !emit(entry, undefined)) return;
    const rest = [...directory.children].filter(([, child]) => child.cookie > cookie);
    rest.sort(([, a], [, b]) => a.cookie - b.cookie);
    for (const [text, child] of rest) {
      const node = this.#node(child.ino);
      const entry = { name: Buffer.from(text, "latin1"), ino: node.ino, type: node.type >> 12, cookie: child.cookie };
      if (!emit(entry, withAttributes ? this.#attributes(node) : undefined)) return;
      if (withAttributes) node.lookups++;
    }
  }

  // Extended attributes

  getXattr(ino: number, name: string): Uint8Array | undefined {
    return this.#node(ino).xattrs.get(name);
  }

  listXattrs(ino: number): readonly string[] {
    return [...this.#node(ino).xattrs.keys()];
  }

  setXattr(ino: number, name: string, value: Uint8Array, flags: number): void {
    const node = this.#node(ino);
    if (flags & XattrFlag.CREATE && node.xattrs.has(name)) throw new FsError("EEXIST");
    if (flags & XattrFlag.REPLACE && !node.xattrs.has(name)) throw new FsError("ENODATA");
    node.xattrs.set(name, value.slice());
    this.#changed(node);
  }

  removeXattr(ino: number, name: string): void {
    const node = this.#node(ino);
    if (!node.xattrs.delete(name)) throw new FsError("ENODATA");
    this.#changed(node);
  }
}
