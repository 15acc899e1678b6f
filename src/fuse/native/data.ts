// Operations on open files. An open file holds a lookup of its node, so an unlinked one stays until it is closed.

import type { Operations } from "fuse-native";
import { FsError } from "../../base/errno.ts";
import type { Eventually } from "../../base/eventually.ts";
import type { ReadResult } from "../../posix/requests.ts";
import { type NativeContext, plain } from "./context.ts";
import { release, resolvePath } from "./paths.ts";

/** Nodes of open files, by the number that libfuse knows each by. */
class OpenFiles {
  readonly #nodes = new Map<number, number>();
  #nextFd = 1;

  add(ino: number): number {
    const fd = this.#nextFd++;
    this.#nodes.set(fd, ino);
    return fd;
  }

  /** Throws FsError EBADF. */
  node(fd: number): number {
    const ino = this.#nodes.get(fd);
    if (ino === undefined) throw new FsError("EBADF");
    return ino;
  }

  delete(fd: number): void {
    this.#nodes.delete(fd);
  }
}

export type DataOperations = Pick<
  Operations,
  "open" | "release" | "read" | "write" | "ftruncate" | "fsync" | "fsyncdir"
>;

export function dataOperations({ fs, finish }: NativeContext): DataOperations {
  const files = new OpenFiles();
  /** Read and write answer with a count in place of the errno. */
  const finishCount = (work: () => Eventually<number>, done: (result: number) => void): void =>
    finish(work, (errno, count) => done(errno === 0 ? (count ?? 0) : errno));

  return {
    open: (path, _flags, done) =>
      finish(async () => {
        const { ino } = await resolvePath(fs, path);
        return files.add(ino);
      }, done),
    release: (_path, fd, done) =>
      finish(() => {
        release(fs, files.node(fd));
        files.delete(fd);
      }, done),
    read: (_path, fd, target, length, position, done) =>
      finishCount(async () => copyInto(target, await fs.read(files.node(fd), position, length)), done),
    write: (_path, fd, data, length, position, done) =>
      finishCount(() => fs.write(files.node(fd), position, plain(data.subarray(0, length)), {}), done),
    ftruncate: (_path, fd, size, done) =>
      finish(async () => {
        await fs.setAttributes(files.node(fd), { size, mtime: "now" });
      }, done),
    fsync: (_path, _datasync, fd, done) => finish(() => fs.syncFile(files.node(fd)), done),
    fsyncdir: (_path, _datasync, _fd, done) => finish(() => fs.sync(), done),
  };
}

function copyInto(target: Buffer, { pieces, lengthBytes }: ReadResult): number {
  let at = 0;
  for (const piece of pieces) {
    target.set(piece, at);
    at += piece.length;
  }
  return lengthBytes;
}
