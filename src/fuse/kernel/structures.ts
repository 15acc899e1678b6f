// The structures of <linux/fuse.h> that h2ts reads or writes, each as a table (see layout.ts). Field names follow the kernel's.

import { layout } from "./layout.ts";

// Both headers

export const InHeader = layout([
  ["len", "u32"],
  ["opcode", "u32"],
  ["unique", "u64"],
  ["nodeid", "u64"],
  ["uid", "u32"],
  ["gid", "u32"],
  ["pid", "u32"],
  ["totalExtlen", "u16"],
  ["padding", "u16"],
]);

export const OutHeader = layout([
  ["len", "u32"],
  ["error", "u32"],
  ["unique", "u64"],
]);

// INIT

export const InitIn = layout([
  ["major", "u32"],
  ["minor", "u32"],
  ["maxReadahead", "u32"],
  ["flags", "u32"],
  ["flags2", "u32"],
  ["unused", 44],
]);

export const InitOut = layout([
  ["major", "u32"],
  ["minor", "u32"],
  ["maxReadahead", "u32"],
  ["flags", "u32"],
  ["maxBackground", "u16"],
  ["congestionThreshold", "u16"],
  ["maxWrite", "u32"],
  ["timeGran", "u32"],
  ["maxPages", "u16"],
  ["mapAlignment", "u16"],
  ["flags2", "u32"],
  ["maxStackDepth", "u32"],
  ["requestTimeout", "u16"],
  ["unused", 22],
]);

// Attributes

export const Attr = layout([
  ["ino", "u64"],
  ["size", "u64"],
  ["blocks", "u64"],
  ["atime", "u64"],
  ["mtime", "u64"],
  ["ctime", "u64"],
  ["atimensec", "u32"],
  ["mtimensec", "u32"],
  ["ctimensec", "u32"],
  ["mode", "u32"],
  ["nlink", "u32"],
  ["uid", "u32"],
  ["gid", "u32"],
  ["rdev", "u32"],
  ["blksize", "u32"],
  ["flags", "u32"],
]);

export const AttrOut = layout([
  ["attrValid", "u64"],
  ["attrValidNsec", "u32"],
  ["dummy", "u32"],
  ["attr", Attr.sizeBytes],
]);

export const EntryOut = layout([
  ["nodeid", "u64"],
  ["generation", "u64"],
  ["entryValid", "u64"],
  ["attrValid", "u64"],
  ["entryValidNsec", "u32"],
  ["attrValidNsec", "u32"],
  ["attr", Attr.sizeBytes],
]);

export const SetattrIn = layout([
  ["valid", "u32"],
  ["padding", "u32"],
  ["fh", "u64"],
  ["size", "u64"],
  ["lockOwner", "u64"],
  ["atime", "u64"],
  ["mtime", "u64"],
  ["ctime", "u64"],
  ["atimensec", "u32"],
  ["mtimensec", "u32"],
  ["ctimensec", "u32"],
  ["mode", "u32"],
  ["unused4", "u32"],
  ["uid", "u32"],
  ["gid", "u32"],
  ["unused5", "u32"],
]);

export const StatxTime = layout([
  ["sec", "u64"],
  ["nsec", "u32"],
  ["reserved", "u32"],
]);

export const Statx = layout([
  ["mask", "u32"],
  ["blksize", "u32"],
  ["attributes", "u64"],
  ["nlink", "u32"],
  ["uid", "u32"],
  ["gid", "u32"],
  ["mode", "u16"],
  ["spare0", "u16"],
  ["ino", "u64"],
  ["size", "u64"],
  ["blocks", "u64"],
  ["attributesMask", "u64"],
  ["atime", StatxTime.sizeBytes],
  ["btime", StatxTime.sizeBytes],
  ["ctime", StatxTime.sizeBytes],
  ["mtime", StatxTime.sizeBytes],
  ["rdevMajor", "u32"],
  ["rdevMinor", "u32"],
  ["devMajor", "u32"],
  ["devMinor", "u32"],
  ["spare2", 112],
]);

export const StatxOut = layout([
  ["attrValid", "u64"],
  ["attrValidNsec", "u32"],
  ["flags", "u32"],
  ["spare", 16],
  ["stat", Statx.sizeBytes],
]);

export const StatfsOut = layout([
  ["blocks", "u64"],
  ["bfree", "u64"],
  ["bavail", "u64"],
  ["files", "u64"],
  ["ffree", "u64"],
  ["bsize", "u32"],
  ["namelen", "u32"],
  ["frsize", "u32"],
  ["padding", "u32"],
  ["spare", 24],
]);

// Names

export const MknodIn = layout([
  ["mode", "u32"],
  ["rdev", "u32"],
  ["umask", "u32"],
  ["padding", "u32"],
]);

export const MkdirIn = layout([
  ["mode", "u32"],
  ["umask", "u32"],
]);

export const CreateIn = layout([
  ["flags", "u32"],
  ["mode", "u32"],
  ["umask", "u32"],
  ["openFlags", "u32"],
]);

export const OpenOut = layout([
  ["fh", "u64"],
  ["openFlags", "u32"],
  ["backingId", "u32"],
]);

export const RenameIn = layout([["newdir", "u64"]]);

export const Rename2In = layout([
  ["newdir", "u64"],
  ["flags", "u32"],
  ["padding", "u32"],
]);

export const LinkIn = layout([["oldnodeid", "u64"]]);

export const ForgetIn = layout([["nlookup", "u64"]]);

export const BatchForgetIn = layout([
  ["count", "u32"],
  ["dummy", "u32"],
]);

export const ForgetOne = layout([
  ["nodeid", "u64"],
  ["nlookup", "u64"],
]);

// Data

export const ReadIn = layout([
  ["fh", "u64"],
  ["offset", "u64"],
  ["size", "u32"],
  ["readFlags", "u32"],
  ["lockOwner", "u64"],
  ["flags", "u32"],
  ["padding", "u32"],
]);

export const GetattrIn = layout([
  ["getattrFlags", "u32"],
  ["dummy", "u32"],
  ["fh", "u64"],
]);

export const WriteIn = layout([
  ["fh", "u64"],
  ["offset", "u64"],
  ["size", "u32"],
  ["writeFlags", "u32"],
  ["lockOwner", "u64"],
  ["flags", "u32"],
  ["padding", "u32"],
]);

export const FallocateIn = layout([
  ["fh", "u64"],
  ["offset", "u64"],
  ["length", "u64"],
  ["mode", "u32"],
  ["padding", "u32"],
]);

/** Body of FUSE_NOTIFY_INVAL_INODE. */
export const InvalidateInode = layout([
  ["ino", "u64"],
  ["off", "u64"],
  ["len", "u64"],
]);

export const LseekIn = layout([
  ["fh", "u64"],
  ["offset", "u64"],
  ["whence", "u32"],
  ["padding", "u32"],
]);

export const CopyFileRangeIn = layout([
  ["fhIn", "u64"],
  ["offIn", "u64"],
  ["nodeidOut", "u64"],
  ["fhOut", "u64"],
  ["offOut", "u64"],
  ["len", "u64"],
  ["flags", "u64"],
]);

// Directories; the name follows each, and the whole is padded to 8 bytes

export const Dirent = layout([
  ["ino", "u64"],
  ["off", "u64"],
  ["namelen", "u32"],
  ["type", "u32"],
]);

export const DirentPlus = layout([
  ["entry", EntryOut.sizeBytes],
  ["dirent", Dirent.sizeBytes],
]);

// Extended attributes; name and value follow

export const SetxattrIn = layout([
  ["size", "u32"],
  ["flags", "u32"],
  ["setxattrFlags", "u32"],
  ["padding", "u32"],
]);

export const GetxattrIn = layout([
  ["size", "u32"],
  ["padding", "u32"],
]);
