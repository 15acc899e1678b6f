// Linux system calls as the mount tests need them: bytes for names, flags and nanoseconds that node:fs does not offer, and
// the credentials of another user for a few calls. Every failure is an Error whose `code` is the errno's name.

import { constants } from "node:os";
import koffi from "koffi";
import { expect } from "vitest";

export type Path = string | Uint8Array;

/** Flags of open(2) on Linux, x86-64 and arm64 where they differ. */
const ARM = process.arch === "arm64";
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  DIRECT: ARM ? 0o200000 : 0o40000,
  DIRECTORY: ARM ? 0o40000 : 0o200000,
  NOFOLLOW: ARM ? 0o100000 : 0o400000,
  PATH: 0o10000000,
  TMPFILE: 0o20000000 | (ARM ? 0o40000 : 0o200000),
} as const;
export const RENAME = { NOREPLACE: 1, EXCHANGE: 2 } as const;
export const FALLOC = { KEEP_SIZE: 1, PUNCH_HOLE: 2, COLLAPSE_RANGE: 8, ZERO_RANGE: 16 } as const;
export const SEEK = { SET: 0, CUR: 1, END: 2, DATA: 3, HOLE: 4 } as const;
export const S = { FIFO: 0o010000, CHAR: 0o020000, BLOCK: 0o060000, REGULAR: 0o100000, SOCKET: 0o140000 } as const;
export const NOBODY = 65534;

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const AT_REMOVEDIR = 0x200;
const AT_SYMLINK_FOLLOW = 0x400;
const AT_EMPTY_PATH = 0x1000;
const STATX_ALL = 0xfff;
/** Asks the filesystem even where the kernel has the attributes cached. */
const AT_STATX_FORCE_SYNC = 0x2000;
const HANDLE_MAX_BYTES = 128;

const libc = koffi.load(null);

/** A function of libc that returns -1 and sets errno when it fails. */
function call(declaration: string): (...words: unknown[]) => number {
  const native = libc.func(declaration) as (...words: unknown[]) => number | bigint;
  const name = /(\w+)\s*\(/.exec(declaration)?.[1] ?? declaration;
  return (...words) => {
    const result = Number(native(...words));
    if (result < 0) throw systemError(name, koffi.errno());
    return result;
  };
}

function systemError(name: string, errno: number): Error {
  // EWOULDBLOCK and ENOTSUP share numbers with EAGAIN and EOPNOTSUPP: the first name found is not always the usual one.
  const aliases: Record<number, string> = { 11: "EAGAIN", 95: "EOPNOTSUPP" };
  const found = Object.entries(constants.errno).find(([, value]) => value === errno);
  const code = aliases[errno] ?? found?.[0] ?? (errno === 116 ? "ESTALE" : `errno ${errno}`);
  return Object.assign(new Error(`${name}: ${code}`), { code });
}

function text(path: Path): Uint8Array {
  return Buffer.concat([typeof path === "string" ? Buffer.from(path) : path, Uint8Array.of(0)]);
}

const native = {
  open: call("int open(const void *path, int flags, ...)"),
  close: call("int close(int fd)"),
  pread: call("int64_t pread(int fd, void *buffer, size_t length, int64_t offset)"),
  pwrite: call("int64_t pwrite(int fd, const void *buffer, size_t length, int64_t offset)"),
  read: call("int64_t read(int fd, void *buffer, size_t length)"),
  write: call("int64_t write(int fd, const void *buffer, size_t length)"),
  lseek: call("int64_t lseek(int fd, int64_t offset, int whence)"),
  fsync: call("int fsync(int fd)"),
  ftruncate: call("int ftruncate(int fd, int64_t length)"),
  truncate: call("int truncate(const void *path, int64_t length)"),
  fallocate: call("int fallocate(int fd, int mode, int64_t offset, int64_t length)"),
  copyFileRange: call(
    "int64_t copy_file_range(int from, int64_t *offset, int to, int64_t *toOffset, size_t length, unsigned int flags)",
  ),
  mkdir: call("int mkdir(const void *path, unsigned int mode)"),
  rmdir: call("int rmdir(const void *path)"),
  unlink: call("int unlink(const void *path)"),
  unlinkat: call("int unlinkat(int fd, const void *path, int flags)"),
  mknod: call("int mknod(const void *path, unsigned int mode, uint64_t device)"),
  link: call("int link(const void *path, const void *to)"),
  linkat: call("int linkat(int fromFd, const void *from, int toFd, const void *to, int flags)"),
  symlink: call("int symlink(const void *target, const void *path)"),
  readlink: call("int64_t readlink(const void *path, void *buffer, size_t length)"),
  renameat2: call("int renameat2(int fromFd, const void *from, int toFd, const void *to, unsigned int flags)"),
  chmod: call("int chmod(const void *path, unsigned int mode)"),
  lchown: call("int lchown(const void *path, unsigned int uid, unsigned int gid)"),
  utimensat: call("int utimensat(int fd, const void *path, const void *times, int flags)"),
  statx: call("int statx(int fd, const void *path, int flags, unsigned int mask, void *result)"),
  faccessat: call("int faccessat(int fd, const void *path, int mode, int flags)"),
  lsetxattr: call("int lsetxattr(const void *path, const char *name, const void *value, size_t length, int flags)"),
  lgetxattr: call("int64_t lgetxattr(const void *path, const char *name, void *value, size_t length)"),
  llistxattr: call("int64_t llistxattr(const void *path, void *list, size_t length)"),
  lremovexattr: call("int lremovexattr(const void *path, const char *name)"),
  nameToHandleAt: call("int name_to_handle_at(int fd, const void *path, void *handle, void *mountId, int flags)"),
  openByHandleAt: call("int open_by_handle_at(int mountFd, void *handle, int flags)"),
  setfsuid: call("int setfsuid(unsigned int uid)"),
  setfsgid: call("int setfsgid(unsigned int gid)"),
  umask: call("unsigned int umask(unsigned int mask)"),
};

export interface Status {
  readonly ino: number;
  readonly type: number;
  /** Permissions with setuid, setgid and sticky. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Units of 512 bytes. */
  readonly blocks: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  /** Nanoseconds since 1970. */
  readonly atime: bigint;
  readonly mtime: bigint;
  readonly ctime: bigint;
  /** Undefined where the filesystem does not tell. */
  readonly btime: bigint | undefined;
}

function decodeStatus(bytes: Buffer): Status {
  const time = (at: number): bigint => bytes.readBigInt64LE(at) * 1_000_000_000n + BigInt(bytes.readUInt32LE(at + 8));
  const mode = bytes.readUInt16LE(28);
  return {
    ino: Number(bytes.readBigUInt64LE(32)),
    type: mode & 0o170000,
    mode: mode & 0o7777,
    nlink: bytes.readUInt32LE(16),
    uid: bytes.readUInt32LE(20),
    gid: bytes.readUInt32LE(24),
    size: Number(bytes.readBigUInt64LE(40)),
    blocks: Number(bytes.readBigUInt64LE(48)),
    rdevMajor: bytes.readUInt32LE(128),
    rdevMinor: bytes.readUInt32LE(132),
    atime: time(64),
    mtime: time(112),
    ctime: time(96),
    btime: (bytes.readUInt32LE(0) & 0x800) === 0 ? undefined : time(80),
  };
}

function statusAt(fd: number, path: Path, flags: number): Status {
  const result = Buffer.alloc(256);
  native.statx(fd, text(path), flags, STATX_ALL, result);
  return decodeStatus(result);
}

/** UTIME_OMIT for one of the two times of `sys.utimens`. */
export const OMIT = "omit";
export const NOW = "now";
type NewTime = bigint | typeof OMIT | typeof NOW;

function timespecs(times: readonly [NewTime, NewTime]): Uint8Array {
  const bytes = Buffer.alloc(32);
  times.forEach((time, index) => {
    if (time === OMIT) bytes.writeBigInt64LE((1n << 30n) - 2n, index * 16 + 8);
    else if (time === NOW) bytes.writeBigInt64LE((1n << 30n) - 1n, index * 16 + 8);
    else {
      const nsec = ((time % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
      bytes.writeBigInt64LE((time - nsec) / 1_000_000_000n, index * 16);
      bytes.writeBigInt64LE(nsec, index * 16 + 8);
    }
  });
  return bytes;
}

/** Descriptors in use, so that a failed test leaves none that would keep the mount busy. */
const descriptors = new Set<number>();

function opened(fd: number): number {
  descriptors.add(fd);
  return fd;
}

/** Closes what tests left open. */
export function closeLeftovers(): void {
  for (const fd of descriptors) sys.close(fd);
}

/** A file handle of name_to_handle_at(2), as its bytes. */
export type Handle = Buffer;

export const sys = {
  open: (path: Path, flags: number, mode = 0o644): number =>
    opened(native.open(text(path), flags, "unsigned int", mode)),
  close(fd: number): void {
    descriptors.delete(fd);
    native.close(fd);
  },
  pread(fd: number, length: number, offset: number, buffer: Uint8Array = Buffer.alloc(length)): Uint8Array {
    return buffer.subarray(0, native.pread(fd, buffer, length, offset));
  },
  pwrite: (fd: number, bytes: Uint8Array, offset: number): number => native.pwrite(fd, bytes, bytes.length, offset),
  read: (fd: number, into: Uint8Array): number => native.read(fd, into, into.length),
  write: (fd: number, bytes: Uint8Array): number => native.write(fd, bytes, bytes.length),
  lseek: native.lseek as (fd: number, offset: number, whence: number) => number,
  fsync: (fd: number): void => void native.fsync(fd),
  ftruncate: (fd: number, length: number): void => void native.ftruncate(fd, length),
  truncate: (path: Path, length: number): void => void native.truncate(text(path), length),
  fallocate: (fd: number, mode: number, offset: number, length: number): void =>
    void native.fallocate(fd, mode, offset, length),
  copyFileRange(from: number, offset: number, to: number, toOffset: number, length: number): number {
    const at = new BigInt64Array([BigInt(offset)]);
    const toAt = new BigInt64Array([BigInt(toOffset)]);
    return native.copyFileRange(from, at, to, toAt, length, 0);
  },
  mkdir: (path: Path, mode = 0o755): void => void native.mkdir(text(path), mode),
  rmdir: (path: Path): void => void native.rmdir(text(path)),
  unlink: (path: Path): void => void native.unlink(text(path)),
  unlinkDirectory: (path: Path): void => void native.unlinkat(AT_FDCWD, text(path), AT_REMOVEDIR),
  mknod: (path: Path, mode: number, major = 0, minor = 0): void =>
    void native.mknod(text(path), mode, major * 256 + (minor & 255) + Math.floor(minor / 256) * 2 ** 20),
  link: (path: Path, to: Path): void => void native.link(text(path), text(to)),
  /** Gives the file behind `fd` a name, as for O_TMPFILE. */
  linkDescriptor: (fd: number, to: Path): void =>
    void native.linkat(AT_FDCWD, text(`/proc/self/fd/${fd}`), AT_FDCWD, text(to), AT_SYMLINK_FOLLOW),
  symlink: (target: Path, path: Path): void => void native.symlink(text(target), text(path)),
  readlink(path: Path): Buffer {
    const buffer = Buffer.alloc(4096);
    return buffer.subarray(0, native.readlink(text(path), buffer, buffer.length));
  },
  rename: (from: Path, to: Path, flags = 0): void =>
    void native.renameat2(AT_FDCWD, text(from), AT_FDCWD, text(to), flags),
  chmod: (path: Path, mode: number): void => void native.chmod(text(path), mode),
  lchown: (path: Path, uid: number, gid: number): void => void native.lchown(text(path), uid >>> 0, gid >>> 0),
  utimens: (path: Path, atime: NewTime, mtime: NewTime): void =>
    void native.utimensat(AT_FDCWD, text(path), timespecs([atime, mtime]), AT_SYMLINK_NOFOLLOW),
  /** What the kernel tells without asking, having made sure that it is what the filesystem says. */
  lstat(path: Path): Status {
    const cached = statusAt(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW);
    const asked = statusAt(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_STATX_FORCE_SYNC);
    // Blocks are counted when pages are written back, of which the kernel's cache knows nothing.
    expect({ ...cached, blocks: 0 }, "attributes cached by the kernel").toEqual({ ...asked, blocks: 0 });
    return asked;
  },
  fstat: (fd: number): Status => statusAt(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC),
  setXattr: (path: Path, name: string, value: Uint8Array | string, flags = 0): void =>
    void native.lsetxattr(text(path), name, Buffer.from(value), Buffer.from(value).length, flags),
  getXattr(path: Path, name: string, room = 65536): Buffer {
    const buffer = Buffer.alloc(room);
    return buffer.subarray(0, native.lgetxattr(text(path), name, buffer, room));
  },
  listXattrs(path: Path): string[] {
    const buffer = Buffer.alloc(65536);
    const length = native.llistxattr(text(path), buffer, buffer.length);
    return buffer.toString("latin1", 0, length).split("\0").slice(0, -1).sort();
  },
  removeXattr: (path: Path, name: string): void => void native.lremovexattr(text(path), name),
  handleOf(path: Path): Handle {
    const handle = Buffer.alloc(8 + HANDLE_MAX_BYTES);
    handle.writeUInt32LE(HANDLE_MAX_BYTES);
    native.nameToHandleAt(AT_FDCWD, text(path), handle, Buffer.alloc(8), 0);
    return handle.subarray(0, 8 + handle.readUInt32LE(0));
  },
  openHandle: (mountFd: number, handle: Handle, flags: number): number =>
    opened(native.openByHandleAt(mountFd, handle, flags)),
  umask: (mask: number): number => native.umask(mask),
};

/**
 * Runs `body` with another user's filesystem credentials: without root's rights over files. Synchronous only, because the
 * credentials are those of this thread.
 */
export function asUser<T>(uid: number, gid: number, groups: readonly number[], body: () => T): T {
  const before = process.getgroups?.() ?? [];
  process.setgroups?.([...groups]);
  native.setfsgid(gid);
  native.setfsuid(uid);
  try {
    return body();
  } finally {
    native.setfsuid(0);
    native.setfsgid(0);
    process.setgroups?.(before);
  }
}

/** Runs `body` with an umask. */
export function withUmask<T>(mask: number, body: () => T): T {
  const before = sys.umask(mask);
  try {
    return body();
  } finally {
    sys.umask(before);
  }
}

/** Errno name that `body` fails with, "none" when it succeeds. */
export function errnoOf(body: () => unknown): string {
  try {
    body();
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
  return "none";
}
