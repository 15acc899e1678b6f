// The smallest change that makes a damaged inode block keep the rules again. What can't be guessed loses nothing: a
// size that is lost becomes one that covers all data; sums are corrected by the next look.

import {
  BLOCKREF_BYTES,
  BLOCKSET_BYTES,
  BLOCKSET_REFS,
  RefType,
  refKey,
  refLevel,
  refSizeBytes,
  refType,
} from "../src/format/blockref.ts";
import { COPIES_MAX, FILE_SIZE_MAX } from "../src/format/geometry.ts";
import {
  INLINE_DATA_BYTES,
  INODE,
  INODE_BYTES,
  INODE_CONTENT_OFFSET,
  InodeFlag,
  InodeTime,
  inodeCopies,
  inodeEntries,
  inodeFlags,
  inodeGeneration,
  inodeMode,
  inodeParent,
  inodeSize,
  inodeTimeNsec,
  inodeTimeSec,
  inodeUsedKib,
  setInodeCompression,
  setInodeCopies,
  setInodeEntries,
  setInodeFlags,
  setInodeGeneration,
  setInodeMode,
  setInodeNumber,
  setInodeParent,
  setInodeRdev,
  setInodeSize,
  setInodeTime,
  setInodeUsedKib,
} from "../src/format/inode.ts";
import { Mode } from "../src/format/mode.ts";
import { mayBeTrimmed } from "./check-inode.ts";
import { clearReserved, readable } from "./fix-fields.ts";
import { isKnownType } from "./inode-record.ts";

/** A corrected copy of the inode block behind `found`, which has the magic of one. */
export function fixedInode(found: DataView, ino: number, sequence: number): Uint8Array {
  const bytes = new Uint8Array(found.buffer, found.byteOffset, INODE_BYTES).slice();
  const v = new DataView(bytes.buffer);
  setInodeNumber(v, ino);
  clearReserved(INODE, bytes);
  setInodeFlags(v, inodeFlags(v) & (InodeFlag.INLINE | InodeFlag.TRIM));
  if (!isKnownType(inodeMode(v))) setInodeMode(v, guessedType(v) | (inodeMode(v) & 0o7777));
  if (inodeCopies(v) > COPIES_MAX) setInodeCopies(v, 0);
  setInodeCompression(v, 0);
  fixTimes(v);
  fixNumbers(v, sequence);
  fixContent(bytes, v);
  if (!mayBeTrimmed(v)) setInodeFlags(v, inodeFlags(v) & ~InodeFlag.TRIM);
  return bytes;
}

/** What the content says a file of unknown type is. */
function guessedType(v: DataView): number {
  if ((inodeFlags(v) & InodeFlag.INLINE) !== 0) return Mode.REGULAR;
  return refType(v, INODE_CONTENT_OFFSET) === RefType.DIRENT ? Mode.DIRECTORY : Mode.REGULAR;
}

function fixTimes(v: DataView): void {
  for (const which of Object.values(InodeTime)) {
    const sec = readable(() => inodeTimeSec(v, which)) ? inodeTimeSec(v, which) : 0;
    setInodeTime(v, which, { sec, nsec: Math.min(inodeTimeNsec(v, which), 999_999_999) });
  }
}

function fixNumbers(v: DataView, sequence: number): void {
  const type = inodeMode(v) & Mode.TYPE;
  if (!readable(() => inodeGeneration(v)) || inodeGeneration(v) > sequence) setInodeGeneration(v, sequence);
  if (!readable(() => inodeUsedKib(v))) setInodeUsedKib(v, 0);
  if (type !== Mode.DIRECTORY || !readable(() => inodeEntries(v))) setInodeEntries(v, 0);
  if (type !== Mode.DIRECTORY || !readable(() => inodeParent(v))) setInodeParent(v, 0);
  if (type !== Mode.CHARACTER && type !== Mode.BLOCK) setInodeRdev(v, 0, 0);
  if (!readable(() => inodeSize(v)) || inodeSize(v) > FILE_SIZE_MAX) setInodeSize(v, sizeOfData(v));
}

/** End of the last data block where the root run names it, else the largest size there is. */
function sizeOfData(v: DataView): number {
  let end = 0;
  for (let i = 0; i < BLOCKSET_REFS; i++) {
    const at = INODE_CONTENT_OFFSET + i * BLOCKREF_BYTES;
    if (refType(v, at) === RefType.EMPTY) break;
    if (refLevel(v, at) > 0 || !readable(() => refKey(v, at))) return FILE_SIZE_MAX;
    end = Math.max(end, refKey(v, at) + refSizeBytes(v, at));
  }
  return end;
}

function fixContent(bytes: Uint8Array, v: DataView): void {
  const type = inodeMode(v) & Mode.TYPE;
  const inline = (inodeFlags(v) & InodeFlag.INLINE) !== 0;
  if (type === Mode.REGULAR || type === Mode.SYMLINK) {
    if (!inline) return;
    const content = bytes.subarray(INODE_CONTENT_OFFSET, INODE_CONTENT_OFFSET + INLINE_DATA_BYTES);
    let size = Math.min(inodeSize(v), INLINE_DATA_BYTES);
    // A target ends at its first NUL, whatever the size says; it can't be empty.
    if (type === Mode.SYMLINK) size = content.includes(0) ? content.indexOf(0) : INLINE_DATA_BYTES;
    setInodeSize(v, size);
    content.fill(0, size);
    return;
  }
  if (type === Mode.DIRECTORY && !inline) return;
  bytes.fill(0, INODE_CONTENT_OFFSET, INODE_CONTENT_OFFSET + BLOCKSET_BYTES);
  setInodeSize(v, 0);
  setInodeFlags(v, type === Mode.DIRECTORY ? 0 : InodeFlag.INLINE);
}
