// The blockref: 128 bytes that name one block on up to eight copies, say how to check it, and index it in its parent.
// Directory entries and orphan marks are blockrefs without a block. Vocabulary after HAMMER2's disk header.
// Invariants: I1 (a pointer is a promise), I5 (the check code is here, in the parent, never beside the data), I8 (`missing`).

import { assert } from "../base/assert.ts";
import { readU48, readU64, writeU48, writeU64 } from "../base/integers.ts";
import { COPIES_MAX } from "./geometry.ts";
import { declareStructure, offsetOf } from "./structure.ts";

export const BLOCKREF_BYTES = 128;
/** Four blockrefs embedded in an inode, a PFS or a root: the root of a tree. */
export const BLOCKSET_REFS = 4;
export const BLOCKSET_BYTES = BLOCKSET_REFS * BLOCKREF_BYTES;
/** A name up to this long lies in the blockref itself, over the check and the pointers; a longer one has a block. */
export const EMBEDDED_NAME_BYTES = 80;

export const RefType = {
  EMPTY: 0,
  INDIRECT: 1,
  DATA: 2,
  INODE: 3,
  DIRENT: 4,
  FREEMAP: 5,
  PFS: 6,
  XATTR: 7,
  ORPHAN: 8,
} as const;

export const RefFlag = {
  /** File data written under copies=K: a null pointer here is not owed. */
  NARROW: 0x01,
  /** In memory only: the block is dirty, its check not computed yet. Zero on media. */
  DIRTY: 0x80,
} as const;

export const BLOCKREF = declareStructure(
  "blockref",
  BLOCKREF_BYTES,
  "Names one block on every copy, or is itself a directory entry or an orphan mark.",
  [
    {
      name: "type",
      type: "u8",
      meaning: "0 empty, 1 indirect, 2 data, 3 inode, 4 dirent, 5 freemap, 6 pfs, 7 xattr, 8 orphan",
    },
    { name: "methods", type: "u8", meaning: "low four bits: check code; high four bits: compression (0 none)" },
    { name: "level", type: "u8", meaning: "0 for an item; an indirect block has one more than what it holds" },
    { name: "sizeBits", type: "u8", meaning: "log2 of the block's bytes, 10–16; 0 when there is no block" },
    { name: "missing", type: "u8", meaning: "bit k: copy k lacks something at or below this block" },
    { name: "flags", type: "u8", meaning: "bit 0 narrow; bit 7 dirty, in memory only" },
    { name: "nameBytes", type: "u8", meaning: "dirent: length of the name, 1–255; otherwise 0" },
    { name: "entryType", type: "u8", meaning: "dirent: type of what it names, as d_type (DT_DIR = 4, DT_REG = 8, …)" },
    {
      name: "key",
      type: "u64",
      meaning: "file offset, inode number, name hash, leaf index; in an indirect block's ref: no key below is smaller",
    },
    { name: "modifyTid", type: "u64", meaning: "transaction that gave the block its present content" },
    { name: "mirrorTid", type: "u64", meaning: "newest modifyTid at or below this block" },
    {
      name: "check",
      type: "bytes",
      sizeBytes: 32,
      meaning: "check code of the block, zero-padded; in a dirent without a block, the name begins here",
    },
    {
      name: "pointers",
      type: "u48",
      count: COPIES_MAX,
      meaning: "place of the block on each copy in KiB, 0 = none; in a dirent without a block, the name goes on here",
    },
    {
      name: "embedded",
      type: "bytes",
      sizeBytes: 16,
      meaning:
        "dirent: inode number (u64); freemap: free KiB (u16) and free 64 KiB chunks (u16) of the leaf; otherwise 0",
    },
  ],
);

const TYPE = offsetOf(BLOCKREF, "type");
const METHODS = offsetOf(BLOCKREF, "methods");
const LEVEL = offsetOf(BLOCKREF, "level");
const SIZE_BITS = offsetOf(BLOCKREF, "sizeBits");
const MISSING = offsetOf(BLOCKREF, "missing");
const FLAGS = offsetOf(BLOCKREF, "flags");
const NAME_BYTES = offsetOf(BLOCKREF, "nameBytes");
const ENTRY_TYPE = offsetOf(BLOCKREF, "entryType");
const KEY = offsetOf(BLOCKREF, "key");
const MODIFY_TID = offsetOf(BLOCKREF, "modifyTid");
const MIRROR_TID = offsetOf(BLOCKREF, "mirrorTid");
export const REF_CHECK_OFFSET = offsetOf(BLOCKREF, "check");
const POINTERS = offsetOf(BLOCKREF, "pointers");
const EMBEDDED = offsetOf(BLOCKREF, "embedded");

// Every accessor takes the view of the block that holds the ref and the byte offset of the ref in it.

/** Type, methods, level and size in one: all that a ref says of how its block is read, for comparing. */
export const refHeadWord = (v: DataView, at: number): number => v.getInt32(at + TYPE, true);
/** 32 bits of the check code, for comparing. */
export const refCheckWord = (v: DataView, at: number, index: number): number =>
  v.getInt32(at + REF_CHECK_OFFSET + index * 4, true);
export const refType = (v: DataView, at: number): number => v.getUint8(at + TYPE);
export const refCheckType = (v: DataView, at: number): number => v.getUint8(at + METHODS) & 0x0f;
export const refCompression = (v: DataView, at: number): number => v.getUint8(at + METHODS) >>> 4;
export const refLevel = (v: DataView, at: number): number => v.getUint8(at + LEVEL);
export const refSizeBits = (v: DataView, at: number): number => v.getUint8(at + SIZE_BITS);
/** Bytes of the block; 0 when the ref has none. */
export const refSizeBytes = (v: DataView, at: number): number => {
  const bits = v.getUint8(at + SIZE_BITS);
  return bits === 0 ? 0 : 1 << bits;
};
export const refMissing = (v: DataView, at: number): number => v.getUint8(at + MISSING);
export const refFlags = (v: DataView, at: number): number => v.getUint8(at + FLAGS);
export const refIsDirty = (v: DataView, at: number): boolean => (v.getUint8(at + FLAGS) & RefFlag.DIRTY) !== 0;
export const refNameBytes = (v: DataView, at: number): number => v.getUint8(at + NAME_BYTES);
export const refEntryType = (v: DataView, at: number): number => v.getUint8(at + ENTRY_TYPE);
export const refKey = (v: DataView, at: number): number => readU64(v, at + KEY);
export const refModifyTid = (v: DataView, at: number): number => readU64(v, at + MODIFY_TID);
export const refMirrorTid = (v: DataView, at: number): number => readU64(v, at + MIRROR_TID);
export const refPointer = (v: DataView, at: number, copy: number): number => readU48(v, at + POINTERS + copy * 6);
/** Inode number a dirent names. */
export const refEntryInode = (v: DataView, at: number): number => readU64(v, at + EMBEDDED);
export const refFreeKib = (v: DataView, at: number): number => v.getUint16(at + EMBEDDED, true);
export const refFreeChunks = (v: DataView, at: number): number => v.getUint16(at + EMBEDDED + 2, true);

/**
 * What kind of block it names: RefType `type`, `level` above the items of its tree, 2^`sizeBits` bytes (0: no block), `checkType`.
 * Plain numbers, as in all accessors here: every ref that is written passes through them.
 */
export function setRefHead(
  v: DataView,
  at: number,
  type: number,
  level: number,
  sizeBits: number,
  checkType: number,
): void {
  v.setUint8(at + TYPE, type);
  v.setUint8(at + METHODS, checkType);
  v.setUint8(at + LEVEL, level);
  v.setUint8(at + SIZE_BITS, sizeBits);
}
export const setRefSizeBits = (v: DataView, at: number, bits: number): void => v.setUint8(at + SIZE_BITS, bits);
export const setRefMissing = (v: DataView, at: number, mask: number): void => v.setUint8(at + MISSING, mask);
export const setRefFlags = (v: DataView, at: number, flags: number): void => v.setUint8(at + FLAGS, flags);
export const setRefKey = (v: DataView, at: number, key: number): void => writeU64(v, at + KEY, key);
export const setRefModifyTid = (v: DataView, at: number, tid: number): void => writeU64(v, at + MODIFY_TID, tid);
export const setRefMirrorTid = (v: DataView, at: number, tid: number): void => writeU64(v, at + MIRROR_TID, tid);
export const setRefPointer = (v: DataView, at: number, copy: number, kib: number): void =>
  writeU48(v, at + POINTERS + copy * 6, kib);
export function setRefFreeSpace(v: DataView, at: number, freeKib: number, freeChunks: number): void {
  v.setUint16(at + EMBEDDED, freeKib, true);
  v.setUint16(at + EMBEDDED + 2, freeChunks, true);
}

/** What a dirent says of itself, besides its key and its name. */
export function setRefEntry(v: DataView, at: number, ino: number, entryType: number, nameBytes: number): void {
  assert(nameBytes > 0 && nameBytes <= 255, `name of ${nameBytes} bytes`);
  v.setUint8(at + NAME_BYTES, nameBytes);
  v.setUint8(at + ENTRY_TYPE, entryType);
  writeU64(v, at + EMBEDDED, ino);
}

/** Where an embedded name begins, relative to the ref. */
export const REF_NAME_OFFSET = REF_CHECK_OFFSET;

/** True for a directory entry or an orphan mark that is nothing but itself: no block, no pointers. */
export const refIsBare = (v: DataView, at: number): boolean => v.getUint8(at + SIZE_BITS) === 0;

/**
 * Bit for each copy of `members` that the ref owes something: marked as missing, or without a pointer although the block
 * belongs on every copy (so a copy just attached is owed everything, and nothing had to be marked).
 */
export function refOwed(v: DataView, at: number, members: number): number {
  if (refIsBare(v, at)) return 0;
  let owed = refMissing(v, at);
  if ((refFlags(v, at) & RefFlag.NARROW) === 0) owed |= refUnplaced(v, at, members);
  return owed & members;
}

/** Bit for each copy of `members` on which the block has no place. */
export function refUnplaced(v: DataView, at: number, members: number): number {
  let unplaced = 0;
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    if ((members & (1 << copy)) === 0) continue;
    const p = at + POINTERS + copy * 6;
    if (v.getUint32(p, true) === 0 && v.getUint16(p + 4, true) === 0) unplaced |= 1 << copy;
  }
  return unplaced;
}

/** Copy number of the first non-null pointer, or -1. */
export function firstPointerCopy(v: DataView, at: number): number {
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    const p = at + POINTERS + copy * 6;
    if (v.getUint32(p, true) !== 0 || v.getUint16(p + 4, true) !== 0) return copy;
  }
  return -1;
}
