// The inode: one 1 KiB block for each file, directory, link or special file. Up to 512 bytes of data lie inside it,
// otherwise four blockrefs: the root of its data tree, or of its directory tree.

import { readI64, readU64, writeI64, writeU64 } from "../base/integers.ts";
import type { Timespec } from "../base/clock.ts";
import { BLOCKREF, BLOCKSET_REFS } from "./blockref.ts";
import { declareStructure, offsetOf } from "./structure.ts";

export const INODE_BYTES = 1024;
export const INODE_MAGIC = 0x444f4e49; // "INOD"
/** Data of at most this many bytes is kept in the inode. */
export const INLINE_DATA_BYTES = 512;

export const InodeFlag = {
  /** The 512 bytes at `content` are data, not blockrefs. */
  INLINE: 0x01,
  /** Blocks at or past `size` are still to be released; the inode is in the orphan tree until that is done. */
  TRIM: 0x02,
} as const;

export const INODE = declareStructure("inode", INODE_BYTES, "One file, directory, symbolic link or special file.", [
  { name: "magic", type: "u32", meaning: '"INOD"' },
  { name: "flags", type: "u32", meaning: "bit 0: content holds data; bit 1: blocks past size wait to be released" },
  { name: "ino", type: "u64", meaning: "inode number, never used again" },
  { name: "generation", type: "u64", meaning: "for file handles; the transaction that created the inode" },
  { name: "parent", type: "u64", meaning: "directory: the directory it is in; otherwise 0" },
  { name: "mode", type: "u32", meaning: "type and permission bits as st_mode" },
  { name: "uid", type: "u32", meaning: "owner" },
  { name: "gid", type: "u32", meaning: "group" },
  { name: "nlink", type: "u32", meaning: "names; a directory has 2 + its subdirectories; 0 is an orphan" },
  { name: "size", type: "u64", meaning: "bytes of data; of a directory, its entries × 128" },
  { name: "usedKib", type: "u64", meaning: "KiB of data and xattr blocks, on one copy" },
  { name: "atimeSec", type: "i64", meaning: "last access, seconds since 1970" },
  { name: "mtimeSec", type: "i64", meaning: "last change of data" },
  { name: "ctimeSec", type: "i64", meaning: "last change of data or inode" },
  { name: "btimeSec", type: "i64", meaning: "birth" },
  { name: "atimeNsec", type: "u32", meaning: "nanoseconds of atime" },
  { name: "mtimeNsec", type: "u32", meaning: "nanoseconds of mtime" },
  { name: "ctimeNsec", type: "u32", meaning: "nanoseconds of ctime" },
  { name: "btimeNsec", type: "u32", meaning: "nanoseconds of btime" },
  { name: "rdevMajor", type: "u32", meaning: "device node: major number" },
  { name: "rdevMinor", type: "u32", meaning: "device node: minor number" },
  { name: "entries", type: "u64", meaning: "directory: number of entries" },
  { name: "copies", type: "u8", meaning: "property copies=K, 0 = on every copy; inherited" },
  { name: "compression", type: "u8", meaning: "compression for new data, 0 = none" },
  { name: "reserved1", type: "reserved", sizeBytes: 126, meaning: "zero" },
  { name: "xattrs", type: BLOCKREF, meaning: "block with the extended attributes; empty when there are none" },
  { name: "reserved2", type: "reserved", sizeBytes: 128, meaning: "zero" },
  {
    name: "content",
    type: BLOCKREF,
    count: BLOCKSET_REFS,
    meaning: "root of the data or directory tree; with flag bit 0, data",
  },
]);

const at = (name: string): number => offsetOf(INODE, name);
const MAGIC = at("magic");
const FLAGS = at("flags");
const INO = at("ino");
const GENERATION = at("generation");
const PARENT = at("parent");
const MODE = at("mode");
const UID = at("uid");
const GID = at("gid");
const NLINK = at("nlink");
const SIZE = at("size");
const USED_KIB = at("usedKib");
const RDEV_MAJOR = at("rdevMajor");
const RDEV_MINOR = at("rdevMinor");
const ENTRIES = at("entries");
const COPIES = at("copies");
const COMPRESSION = at("compression");
export const INODE_XATTRS_OFFSET = at("xattrs");
export const INODE_CONTENT_OFFSET = at("content");

/** The four times of an inode. */
export const InodeTime = { ATIME: 0, MTIME: 1, CTIME: 2, BTIME: 3 } as const;
export type InodeTime = (typeof InodeTime)[keyof typeof InodeTime];
const TIME_SEC = at("atimeSec");
const TIME_NSEC = at("atimeNsec");

// Every accessor takes the view of the inode's block.
export const inodeMagic = (v: DataView): number => v.getUint32(MAGIC, true);
export const inodeFlags = (v: DataView): number => v.getUint32(FLAGS, true);
export const inodeNumber = (v: DataView): number => readU64(v, INO);
export const inodeGeneration = (v: DataView): number => readU64(v, GENERATION);
export const inodeParent = (v: DataView): number => readU64(v, PARENT);
export const inodeMode = (v: DataView): number => v.getUint32(MODE, true);
export const inodeUid = (v: DataView): number => v.getUint32(UID, true);
export const inodeGid = (v: DataView): number => v.getUint32(GID, true);
export const inodeNlink = (v: DataView): number => v.getUint32(NLINK, true);
export const inodeSize = (v: DataView): number => readU64(v, SIZE);
export const inodeUsedKib = (v: DataView): number => readU64(v, USED_KIB);
export const inodeRdevMajor = (v: DataView): number => v.getUint32(RDEV_MAJOR, true);
export const inodeRdevMinor = (v: DataView): number => v.getUint32(RDEV_MINOR, true);
export const inodeEntries = (v: DataView): number => readU64(v, ENTRIES);
export const inodeCopies = (v: DataView): number => v.getUint8(COPIES);
export const inodeCompression = (v: DataView): number => v.getUint8(COMPRESSION);
export const inodeTimeSec = (v: DataView, which: InodeTime): number => readI64(v, TIME_SEC + which * 8);
export const inodeTimeNsec = (v: DataView, which: InodeTime): number => v.getUint32(TIME_NSEC + which * 4, true);

export const setInodeMagic = (v: DataView): void => v.setUint32(MAGIC, INODE_MAGIC, true);
export const setInodeFlags = (v: DataView, flags: number): void => v.setUint32(FLAGS, flags, true);
export const setInodeNumber = (v: DataView, ino: number): void => writeU64(v, INO, ino);
export const setInodeGeneration = (v: DataView, generation: number): void => writeU64(v, GENERATION, generation);
export const setInodeParent = (v: DataView, ino: number): void => writeU64(v, PARENT, ino);
export const setInodeMode = (v: DataView, mode: number): void => v.setUint32(MODE, mode, true);
export const setInodeUid = (v: DataView, uid: number): void => v.setUint32(UID, uid, true);
export const setInodeGid = (v: DataView, gid: number): void => v.setUint32(GID, gid, true);
export const setInodeNlink = (v: DataView, nlink: number): void => v.setUint32(NLINK, nlink, true);
export const setInodeSize = (v: DataView, size: number): void => writeU64(v, SIZE, size);
export const setInodeUsedKib = (v: DataView, kib: number): void => writeU64(v, USED_KIB, kib);
export function setInodeRdev(v: DataView, major: number, minor: number): void {
  v.setUint32(RDEV_MAJOR, major, true);
  v.setUint32(RDEV_MINOR, minor, true);
}
export const setInodeEntries = (v: DataView, entries: number): void => writeU64(v, ENTRIES, entries);
export const setInodeCopies = (v: DataView, copies: number): void => v.setUint8(COPIES, copies);
export const setInodeCompression = (v: DataView, method: number): void => v.setUint8(COMPRESSION, method);
export function setInodeTime(v: DataView, which: InodeTime, time: Timespec): void {
  writeI64(v, TIME_SEC + which * 8, time.sec);
  v.setUint32(TIME_NSEC + which * 4, time.nsec, true);
}
