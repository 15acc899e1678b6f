// What went wrong on one copy since mkfs, or since the operator had it forgotten, as the root keeps it. A counter that is full stays at
// its end.

import { declareStructure, offsetOf } from "./structure.ts";

export const COPY_COUNTERS = declareStructure(
  "copy-counters",
  16,
  "What went wrong on one copy since mkfs or `h2ts clear`.",
  [
    { name: "readErrors", type: "u32", meaning: "reads the device refused" },
    { name: "writeErrors", type: "u32", meaning: "writes and flushes the device refused" },
    { name: "checkErrors", type: "u32", meaning: "blocks whose check code did not match" },
    { name: "repaired", type: "u32", meaning: "blocks rewritten from another copy" },
  ],
);

const READ_ERRORS = offsetOf(COPY_COUNTERS, "readErrors");
const WRITE_ERRORS = offsetOf(COPY_COUNTERS, "writeErrors");
const CHECK_ERRORS = offsetOf(COPY_COUNTERS, "checkErrors");
const REPAIRED = offsetOf(COPY_COUNTERS, "repaired");
const COUNT_MAX = 0xffff_ffff;

export interface CopyCounters {
  read: number;
  write: number;
  checksum: number;
  repaired: number;
}

export const NO_ERRORS: Readonly<CopyCounters> = { read: 0, write: 0, checksum: 0, repaired: 0 };

/** The counters at byte `at`. */
export function readCounters(v: DataView, at: number): CopyCounters {
  return {
    read: v.getUint32(at + READ_ERRORS, true),
    write: v.getUint32(at + WRITE_ERRORS, true),
    checksum: v.getUint32(at + CHECK_ERRORS, true),
    repaired: v.getUint32(at + REPAIRED, true),
  };
}

/** Enters `counters` at byte `at`. */
export function writeCounters(v: DataView, at: number, counters: Readonly<CopyCounters>): void {
  v.setUint32(at + READ_ERRORS, Math.min(counters.read, COUNT_MAX), true);
  v.setUint32(at + WRITE_ERRORS, Math.min(counters.write, COUNT_MAX), true);
  v.setUint32(at + CHECK_ERRORS, Math.min(counters.checksum, COUNT_MAX), true);
  v.setUint32(at + REPAIRED, Math.min(counters.repaired, COUNT_MAX), true);
}
