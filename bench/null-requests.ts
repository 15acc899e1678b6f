// A filesystem that does nothing: an empty root folder and one file of endless zeroes. What remains is the cost of the transport.

import { FsError } from "../src/base/errno.ts";
import type { Attributes, FileSystemRequests, FileSystemStatistics, ReadResult } from "../src/posix/requests.ts";

const ROOT_NODE = 1;
const FILE_NODE = 2;
const FILE_BYTES = 2 ** 40;
const FILE_NAME = Buffer.from("zeroes");
const EPOCH = { sec: 0, nsec: 0 };
const ZEROES = new Uint8Array(1 << 20);

function attributes(ino: number, mode: number, nlink: number, size: number): Attributes {
  const times = { atime: EPOCH, mtime: EPOCH, ctime: EPOCH, btime: EPOCH };
  return { ino, generation: 0, size, blocks: 0, mode, nlink, uid: 0, gid: 0, rdevMajor: 0, rdevMinor: 0, ...times };
}

const ROOT = attributes(ROOT_NODE, 0o040755, 2, 0);
const FILE = attributes(FILE_NODE, 0o100644, 1, FILE_BYTES);

function refuse(): never {
  throw new FsError("EROFS");
}

export class NullRequests implements FileSystemRequests {
  lookup(parent: number, name: Uint8Array): Attributes | undefined {
    return parent === ROOT_NODE && FILE_NAME.equals(name) ? FILE : undefined;
  }
  forget(): void {}
  getAttributes(ino: number): Attributes {
    if (ino === ROOT_NODE) return ROOT;
    if (ino === FILE_NODE) return FILE;
    throw new FsError("ENOENT");
  }
  setAttributes(ino: number): Attributes {
    return this.getAttributes(ino);
  }
  read(_ino: number, _offset: number, lengthBytes: number): ReadResult {
    return { pieces: [ZEROES.subarray(0, lengthBytes)], lengthBytes };
  }
  write(_ino: number, _offset: number, data: Uint8Array): number {
    return data.length;
  }
  sync(): Promise<void> {
    return Promise.resolve();
  }
  syncFile(): Promise<void> {
    return Promise.resolve();
  }
  readDirectory(): void {}
  getXattr(): never {
    throw new FsError("ENODATA");
  }
  listXattrs(): readonly string[] {
    return [];
  }
  statistics(): FileSystemStatistics {
    return {
      blockBytes: 4096,
      blocks: 0,
      blocksFree: 0,
      blocksAvailable: 0,
      files: 2,
      filesFree: 0,
      nameMaxBytes: 255,
    };
  }
  readlink = refuse;
  makeNode = refuse;
  makeDirectory = refuse;
  makeSymlink = refuse;
  makeTemporary = refuse;
  link = refuse;
  unlink = refuse;
  removeDirectory = refuse;
  rename = refuse;
  fallocate = refuse;
  seek = refuse;
  copyRange = refuse;
  setXattr = refuse;
  removeXattr = refuse;
}
