// Operations on attributes by path. Times have milliseconds, the finest that fuse-native passes on; counts have 32 bits.

import type { Operations, Stat, Statfs } from "fuse-native";
import type { Timespec } from "../../base/clock.ts";
import { encodeDevice } from "../../base/device-number.ts";
import type { AttributeChange, Attributes, FileSystemStatistics } from "../../posix/requests.ts";
import type { NativeContext } from "./context.ts";
import { NameError, nameText, withNode } from "./paths.ts";

const U32_LIMIT = 2 ** 32;
/** chown(2): leave it as it is. */
const UNCHANGED_ID = 0xffff_ffff;
const PREFERRED_BYTES = 4096;

/** Times before 1970 come out as 0. */
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

/** A large volume is told in larger blocks. */
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

export type AttributeOperations = Pick<
  Operations,
  "statfs" | "getattr" | "readlink" | "truncate" | "utimens" | "chmod" | "chown"
>;

export function attributeOperations({ fs, finish }: NativeContext): AttributeOperations {
  async function change(path: string, what: AttributeChange): Promise<void> {
    await withNode(fs, path, (ino) => fs.setAttributes(ino, what));
  }

  return {
    statfs: (_path, done) => finish(() => statfs(fs.statistics()), done),
    getattr: (path, done) => finish(() => withNode(fs, path, (_ino, attributes) => stat(attributes)), done),
    readlink: (path, done) =>
      finish(async () => {
        const target = nameText(await withNode(fs, path, (ino) => fs.readlink(ino)));
        if (target === undefined) throw new NameError("the target of the link is not UTF-8");
        return target;
      }, done),
    truncate: (path, size, done) => finish(() => change(path, { size, mtime: "now" }), done),
    utimens: (path, atimeMs, mtimeMs, done) =>
      finish(() => change(path, { atime: timespec(atimeMs), mtime: timespec(mtimeMs) }), done),
    chmod: (path, mode, done) => finish(() => change(path, { mode }), done),
    chown: (path, uid, gid, done) => {
      const owner = uid === UNCHANGED_ID ? {} : { uid };
      const group = gid === UNCHANGED_ID ? {} : { gid };
      finish(() => change(path, { ...owner, ...group }), done);
    },
  };
}
