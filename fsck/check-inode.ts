// The rules of one inode block, apart from what its trees hold. A block that is no inode, or not this one, yields no
// record: nothing below it is followed.

import { COPIES_MAX, FILE_SIZE_MAX, SYMLINK_MAX_BYTES } from "../src/format/geometry.ts";
import { isZero } from "../src/base/uuid.ts";
import {
  INLINE_DATA_BYTES,
  INODE,
  INODE_BYTES,
  INODE_CONTENT_OFFSET,
  INODE_MAGIC,
  InodeFlag,
  InodeTime,
  inodeCompression,
  inodeCopies,
  inodeEntries,
  inodeFlags,
  inodeGeneration,
  inodeMagic,
  inodeMode,
  inodeNlink,
  inodeNumber,
  inodeParent,
  inodeRdevMajor,
  inodeRdevMinor,
  inodeSize,
  inodeTimeNsec,
  inodeTimeSec,
  inodeUsedKib,
} from "../src/format/inode.ts";
import { Mode, isDirectory } from "../src/format/mode.ts";
import { firstDirtyReserved } from "../src/format/structure.ts";
import type { FindingName } from "./findings.ts";
import { InodeRecord, isKnownType } from "./inode-record.ts";

/** Why an inode is refused: a finding, and the detail after "inode N: ". */
export interface InodeFault {
  readonly name: FindingName;
  readonly detail: string;
}

/** Checks the block behind `v`, found under `ino`. Without a record it can't be used at all. */
export function checkInode(v: DataView, ino: number, sequence: number): { record?: InodeRecord; faults: InodeFault[] } {
  const faults: InodeFault[] = [];
  const fault = (name: FindingName, detail: string): void => void faults.push({ name, detail });
  if (inodeMagic(v) !== INODE_MAGIC) {
    fault("inode-magic", "its block is not an inode");
    return { faults };
  }
  try {
    if (inodeNumber(v) !== ino) {
      fault("inode-number", `its block says it is inode ${inodeNumber(v)}`);
      return { faults };
    }
    const mode = inodeMode(v);
    if (!isKnownType(mode)) {
      fault("inode-mode", `mode 0${mode.toString(8)} is of no known type`);
      return { faults };
    }
    checkNumbers(v, sequence, fault);
    checkContent(v, fault);
    const trim = (inodeFlags(v) & InodeFlag.TRIM) !== 0 && mayBeTrimmed(v);
    const record = new InodeRecord({
      ino,
      mode,
      nlink: inodeNlink(v),
      size: inodeSize(v),
      usedKib: inodeUsedKib(v),
      entries: inodeEntries(v),
      parent: inodeParent(v),
      trim,
    });
    return { record, faults };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    fault("inode-field", error.message);
    return { faults };
  }
}

type Fault = (name: FindingName, detail: string) => void;

function checkNumbers(v: DataView, sequence: number, fault: Fault): void {
  const bytes = new Uint8Array(v.buffer, v.byteOffset, INODE_BYTES);
  const reserved = firstDirtyReserved(INODE, bytes);
  if (reserved !== undefined) fault("inode-reserved", `${reserved} is not zero`);
  const flags = inodeFlags(v);
  if ((flags & ~(InodeFlag.INLINE | InodeFlag.TRIM)) !== 0)
    fault("inode-reserved", `unknown flags 0x${flags.toString(16)}`);
  if (inodeSize(v) > FILE_SIZE_MAX) fault("inode-field", `size ${inodeSize(v)} is too large`);
  if (inodeGeneration(v) > sequence)
    fault("inode-field", `generation ${inodeGeneration(v)} is above the root's ${sequence}`);
  const directory = isDirectory(inodeMode(v));
  if (!directory && (inodeParent(v) !== 0 || inodeEntries(v) !== 0))
    fault("inode-field", "parent or entries of what is no directory");
  const type = inodeMode(v) & Mode.TYPE;
  if (type !== Mode.CHARACTER && type !== Mode.BLOCK && (inodeRdevMajor(v) !== 0 || inodeRdevMinor(v) !== 0)) {
    fault("inode-field", "a device number of what is no device");
  }
  for (const which of Object.values(InodeTime)) {
    inodeTimeSec(v, which);
    if (inodeTimeNsec(v, which) > 999_999_999) fault("inode-time", `${inodeTimeNsec(v, which)} nanoseconds`);
  }
  if (inodeCopies(v) > COPIES_MAX) fault("inode-property", `copies=${inodeCopies(v)}`);
  if (inodeCompression(v) !== 0) fault("inode-property", `compression ${inodeCompression(v)}`);
}

/** Only blocks of data are cut off in steps. */
export const mayBeTrimmed = (v: DataView): boolean =>
  (inodeFlags(v) & InodeFlag.INLINE) === 0 && !isDirectory(inodeMode(v));

function checkContent(v: DataView, fault: Fault): void {
  if ((inodeFlags(v) & InodeFlag.TRIM) !== 0 && !mayBeTrimmed(v))
    fault("inode-content", "to be trimmed, and has no blocks of data");
  const size = inodeSize(v);
  const inline = (inodeFlags(v) & InodeFlag.INLINE) !== 0;
  const type = inodeMode(v) & Mode.TYPE;
  const content = new Uint8Array(v.buffer, v.byteOffset + INODE_CONTENT_OFFSET, INLINE_DATA_BYTES);
  if (type === Mode.DIRECTORY) {
    if (inline) fault("inode-content", "a directory with inline data");
    return;
  }
  if (type === Mode.SYMLINK) {
    if (size < 1 || size > SYMLINK_MAX_BYTES) fault("symlink-target", `a target of ${size} bytes`);
    else if (inline && content.subarray(0, size).includes(0)) fault("symlink-target", "a NUL in the target");
  } else if (type !== Mode.REGULAR && (size !== 0 || !isZero(content))) {
    fault("inode-content", "content of what can have none");
    return;
  }
  if (!inline) return;
  if (size > INLINE_DATA_BYTES) fault("inode-content", `${size} bytes of inline data`);
  else if (!isZero(content.subarray(size)))
    fault("data-tail", `bytes after the inline data of ${size} bytes are not zero`);
}
