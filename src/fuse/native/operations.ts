// libfuse 2's operations in terms of FileSystemRequests. One user: everything is created as the daemon's, because the caller's
// identity is not passed on; the kernel has applied the umask before. Open files hold a lookup of their node, so an unlinked one
// stays (libfuse renames it to .fuse_hidden… besides). The rest of what this transport can't do is in the README's table.

import type { Operations, Stat, Statfs } from "fuse-native";
import type { Timespec } from "../../base/clock.ts";
import { FsError } from "../../base/errno.ts";
import type { Eventually } from "../../base/eventually.ts";
import type { Attributes, Caller, FileSystemRequests, FileSystemStatistics } from "../../posix/requests.ts";
import { decodeDevice, encodeDevice } from "../../base/device-number.ts";
import { NameError, nameBytes, nameText, release, resolvePath, splitPath, withNode } from "./paths.ts";

const EIO = 5;
const U32_LIMIT = 2 ** 32;
const UNCHANGED_ID = 0xffff_ffff;
const PREFERRED_BYTES = 4096;

/** Calls back with the outcome of `work`: its value, or the errno of what it threw. */
type Finish = <T>(work: () => Eventually<T>, done: (errno: number, value?: T) => void) => void;

function finishWith(onFault: (error: unknown) => void): Finish {
  return (work, done) => {
    new Promise<Awaited<ReturnType<typeof work>>>((resolve) => resolve(work() as never)).then(
      (value) => done(0, value),
      (error: unknown) => {
        const expected = error instanceof FsError || error instanceof NameError;
        if (!expected) onFault(error);
        done(expected ? -error.errno : -EIO);
      },
    );
  };
}

/** The same bytes without Buffer's own ideas (its `slice` does not copy, and libfuse takes this memory back). */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
}

/** Milliseconds, the finest that is passed on; times before 1970 come out as 0. */
function milliseconds(time: Timespec): number {
  return Math.max(0, time.sec * 1000 + Math.floor(time.nsec / 1e6));
}

function timespec(ms: number): Timespec {
  const sec = Math.floor(ms / 1000);
  return { sec, nsec: (ms - sec * 1000) * 1_000_000 };
}

function stat(attributes: Attributes): Stat {
  const { mode, uid, gid, size, nlink, ino, blocks } = attributes;
  const rdev = encodeDevice(attributes.rdevMajor, attributes.rdevMinor);
  const atime = milliseconds(attributes.atime);
  const mtime = milliseconds(attributes.mtime);
  const ctime = milliseconds(attributes.ctime);
  return { mode, uid, gid, size, nlink, ino, rdev, blksize: PREFERRED_BYTES, blocks, atime, mtime, ctime };
}

/** Counts are 32-bit here, so a large volume is told in larger blocks. */
function statfs(statistics: FileSystemStatistics): Statfs {
  let unit = 1;
  while (statistics.blocks / unit >= U32_LIMIT) unit *= 2;
  const count = (blocks: number): number => Math.floor(blocks / unit);
  const files = Math.min(statistics.files, U32_LIMIT - 1);
  const ffree = Math.min(statistics.filesFree, U32_LIMIT - 1);
  return {
    bsize: statistics.blockBytes * unit,
    frsize: statistics.blockBytes * unit,
    blocks: count(statistics.blocks),
    bfree: count(statistics.blocksFree),
    bavail: count(statistics.blocksAvailable),
    files,
    ffree,
    favail: ffree,
    namemax: statistics.nameMaxBytes,
  };
}

/** Names of xattrs are latin1 text on our side (one character per byte) and UTF-8 text on fuse-native's. */
function xattrName(name: string): string {
  return Buffer.from(nameBytes(name)).toString("latin1");
}

function listNames(fs: FileSystemRequests, ino: number): Promise<string[]> {
  let names: string[] = [];
  const done = fs.readDirectory(
    ino,
    0,
    "none",
    () => {
      names = [];
    },
    (entry) => {
      // A name that is not UTF-8 would come out as another one; it is not shown at all.
      const text = nameText(entry.name);
      if (text !== undefined) names.push(text);
      return true;
    },
  );
  return Promise.resolve(done).then(() => names);
}

export function nativeOperations(
  fs: FileSystemRequests,
  caller: Caller,
  onFault: (error: unknown) => void,
): Operations {
  const finish = finishWith(onFault);
  /** Read and write answer with a count in place of the errno. */
  const finishCount = (work: () => Eventually<number>, done: (result: number) => void): void =>
    finish(work, (errno, count) => done(errno === 0 ? (count ?? 0) : errno));
  const openFiles = new Map<number, number>();
  let nextFd = 1;

  /** Runs a creation in the parent of `path` and gives back the lookup it counted. */
  async function create(
    path: string,
    make: (parent: number, name: Uint8Array) => Eventually<Attributes>,
  ): Promise<void> {
    const { parent, name } = splitPath(path);
    const attributes = await withNode(fs, parent, (ino) => make(ino, name));
    release(fs, attributes.ino);
  }

  function inParent<T>(path: string, body: (parent: number, name: Uint8Array) => Eventually<T>): Promise<T> {
    const { parent, name } = splitPath(path);
    return withNode(fs, parent, (ino) => body(ino, name));
  }

  function opened(fd: number): number {
    const ino = openFiles.get(fd);
    if (ino === undefined) throw new FsError("EBADF");
    return ino;
  }

  async function change(path: string, what: Parameters<FileSystemRequests["setAttributes"]>[1]): Promise<void> {
    await withNode(fs, path, (ino) => fs.setAttributes(ino, what));
  }

  return {
    statfs: (_path, done) => finish(() => statfs(fs.statistics()), done),
    getattr: (path, done) => finish(() => withNode(fs, path, (_ino, attributes) => stat(attributes)), done),
    readdir: (path, done) => finish(() => withNode(fs, path, (ino) => listNames(fs, ino)), done),
    readlink: (path, done) =>
      finish(async () => {
        const target = nameText(await withNode(fs, path, (ino) => fs.readlink(ino)));
        if (target === undefined) throw new NameError("the target of the link is not UTF-8");
        return target;
      }, done),

    truncate: (path, size, done) => finish(() => change(path, { size, mtime: "now" }), done),
    ftruncate: (_path, fd, size, done) =>
      finish(async () => {
        await fs.setAttributes(opened(fd), { size, mtime: "now" });
      }, done),
    utimens: (path, atimeMs, mtimeMs, done) =>
      finish(() => change(path, { atime: timespec(atimeMs), mtime: timespec(mtimeMs) }), done),
    chmod: (path, mode, done) => finish(() => change(path, { mode }), done),
    chown: (path, uid, gid, done) => {
      const owner = uid === UNCHANGED_ID ? {} : { uid };
      const group = gid === UNCHANGED_ID ? {} : { gid };
      finish(() => change(path, { ...owner, ...group }), done);
    },

    mknod: (path, mode, dev, done) => {
      const { major, minor } = decodeDevice(dev);
      finish(() => create(path, (parent, name) => fs.makeNode(parent, name, mode, major, minor, caller)), done);
    },
    mkdir: (path, mode, done) =>
      finish(() => create(path, (parent, name) => fs.makeDirectory(parent, name, mode, caller)), done),
    symlink: (target, path, done) =>
      finish(() => create(path, (parent, name) => fs.makeSymlink(parent, name, nameBytes(target), caller)), done),
    link: (from, to, done) =>
      finish(() => withNode(fs, from, (ino) => create(to, (parent, name) => fs.link(ino, parent, name, caller))), done),
    unlink: (path, done) => finish(() => inParent(path, (parent, name) => fs.unlink(parent, name, caller)), done),
    rmdir: (path, done) =>
      finish(() => inParent(path, (parent, name) => fs.removeDirectory(parent, name, caller)), done),
    rename: (from, to, done) =>
      finish(
        () =>
          inParent(from, (parent, name) =>
            inParent(to, (newParent, newName) => fs.rename(parent, name, newParent, newName, 0, caller)),
          ),
        done,
      ),

    open: (path, _flags, done) =>
      finish(async () => {
        const { ino } = await resolvePath(fs, path);
        const fd = nextFd++;
        openFiles.set(fd, ino);
        return fd;
      }, done),
    release: (_path, fd, done) =>
      finish(() => {
        release(fs, opened(fd));
        openFiles.delete(fd);
      }, done),
    read: (_path, fd, target, length, position, done) =>
      finishCount(async () => {
        const result = await fs.read(opened(fd), position, length);
        let at = 0;
        for (const piece of result.pieces) {
          target.set(piece, at);
          at += piece.length;
        }
        return result.lengthBytes;
      }, done),
    write: (_path, fd, data, length, position, done) =>
      finishCount(() => fs.write(opened(fd), position, plain(data.subarray(0, length)), {}), done),
    fsync: (_path, _datasync, fd, done) => finish(() => fs.syncFile(opened(fd)), done),
    fsyncdir: (_path, _datasync, _fd, done) => finish(() => fs.sync(), done),

    setxattr: (path, name, value, _position, flags, done) =>
      finish(
        () => withNode(fs, path, (ino) => fs.setXattr(ino, xattrName(name), plain(value), flags, caller, false)),
        done,
      ),
    getxattr: (path, name, _position, done) =>
      finish(async () => {
        const value = await withNode(fs, path, (ino) => fs.getXattr(ino, xattrName(name)));
        if (value === undefined) throw new FsError("ENODATA");
        return Buffer.from(value.buffer, value.byteOffset, value.length);
      }, done),
    listxattr: (path, done) =>
      finish(async () => {
        const names = await withNode(fs, path, (ino) => fs.listXattrs(ino));
        return names.map((name) => nameText(Buffer.from(name, "latin1"))).filter((name) => name !== undefined);
      }, done),
    removexattr: (path, name, done) =>
      finish(() => withNode(fs, path, (ino) => fs.removeXattr(ino, xattrName(name), caller)), done),
  };
}
