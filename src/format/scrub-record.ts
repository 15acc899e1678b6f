// How far the last scrub came and what it found, as the root keeps it: a scrub goes on across mounts.

import { readU64, writeU64 } from "../base/integers.ts";
import { declareStructure, offsetOf } from "./structure.ts";

export const SCRUB_RECORD = declareStructure("scrub-record", 64, "How far the last scrub came, and what it found.", [
  { name: "finishedSec", type: "u64", meaning: "when it ended, seconds since 1970; 0 while it goes on" },
  { name: "blocks", type: "u64", meaning: "blocks read, each copy's counted by itself" },
  { name: "bytes", type: "u64", meaning: "bytes read" },
  { name: "errors", type: "u64", meaning: "of the blocks, how many were bad" },
  { name: "repaired", type: "u64", meaning: "of the bad ones, how many were rewritten from a good copy" },
  { name: "lost", type: "u64", meaning: "blocks that no copy could give" },
  { name: "reserved", type: "reserved", sizeBytes: 16, meaning: "zero" },
]);

/** `scrubCursor` of a scrub that has not reached any inode yet. */
export const SCRUB_CURSOR_START = 1;

export interface ScrubRecord {
  /** 0 while it goes on. */
  finishedSec: number;
  blocks: number;
  bytes: number;
  errors: number;
  repaired: number;
  lost: number;
}

const FIELDS = (["finishedSec", "blocks", "bytes", "errors", "repaired", "lost"] as const).map(
  (name) => [name, offsetOf(SCRUB_RECORD, name)] as const,
);

/** The record at byte `at`; all zero when there was no scrub. */
export function readScrubRecord(v: DataView, at: number): ScrubRecord {
  const record = { finishedSec: 0, blocks: 0, bytes: 0, errors: 0, repaired: 0, lost: 0 };
  for (const [name, offset] of FIELDS) record[name] = readU64(v, at + offset);
  return record;
}

/** Enters `record` at byte `at`. */
export function writeScrubRecord(v: DataView, at: number, record: Readonly<ScrubRecord>): void {
  for (const [name, offset] of FIELDS) writeU64(v, at + offset, record[name]);
}
