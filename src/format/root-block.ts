// The root block: 8 KiB that name everything else of a volume as of one commit. Each copy keeps its newest three in its
// root ring, front and back. All copies hold the same root but for what binds it to its place: copy, version and seal.
// Invariants: I2 (a root names only what is flushed), I12.
// The volume keeps one image of it in memory and edits that in place; accessors take its DataView. Here are the layout and
// the plain fields; the others: root-history.ts, root-members.ts, root-log.ts, root-seal.ts.

import { readU64, writeU64 } from "../base/integers.ts";
import type { Uuid } from "../base/uuid.ts";
import { bytesAt } from "../base/view-bytes.ts";
import { BLOCKREF, BLOCKREF_BYTES, BLOCKSET_REFS } from "./blockref.ts";
import { COPY_COUNTERS, type CopyCounters, readCounters, writeCounters } from "./copy-counters.ts";
import { COPIES_MAX } from "./geometry.ts";
import { HISTORY_ENTRIES, HISTORY_ENTRY } from "./history-entry.ts";
import { LAST_SEEN } from "./last-seen.ts";
import { LABEL_BYTES } from "./node-header.ts";
import { readScrubRecord, SCRUB_RECORD, type ScrubRecord, writeScrubRecord } from "./scrub-record.ts";
import { declareStructure, offsetOf } from "./structure.ts";
import { decodeText } from "./text.ts";
import { VERSION_BYTES } from "./version-chain.ts";

export const ROOT_BYTES = 8192;
export const ROOT_MAGIC = "H2TSROOT";
/** Sequences never come near 2^53: a root that claims so is damaged, whatever its check says (trap 9). */
export const SEQUENCE_MAX = 2 ** 52;

export const ROOT_BLOCK = declareStructure(
  "root-block",
  ROOT_BYTES,
  "Newest state of a volume; in the three slots of a root ring, front and back, and in the anchor.",
  [
    { name: "magic", type: "bytes", sizeBytes: 8, meaning: '"H2TSROOT"' },
    { name: "formatVersion", type: "u32", meaning: "1" },
    { name: "compat", type: "u32", meaning: "features that unknowing programs may ignore" },
    { name: "roCompat", type: "u32", meaning: "features that unknowing programs may only read" },
    { name: "incompat", type: "u32", meaning: "features that unknowing programs must keep away from" },
    { name: "volumeUuid", type: "uuid", meaning: "identity of the volume" },
    { name: "label", type: "text", sizeBytes: LABEL_BYTES, meaning: "name of the volume, UTF-8, zero-padded" },
    { name: "copyUuid", type: "uuid", meaning: "copy this root was written to" },
    { name: "epoch", type: "uuid", meaning: "random id of the lineage, new whenever the in-sync set shrinks" },
    {
      name: "version",
      type: "bytes",
      sizeBytes: VERSION_BYTES,
      meaning: "H(version of the oldest, of the backup root of this copy's ring)",
    },
    { name: "sequence", type: "u64", meaning: "transaction id of the commit this root ends" },
    { name: "copyIndex", type: "u8", meaning: "index of the copy this root was written to" },
    { name: "inSync", type: "u8", meaning: "bit k: copy k holds everything acknowledged that it is meant to hold" },
    { name: "minCopies", type: "u8", meaning: "in-sync copies below which the volume is read-only" },
    { name: "copyCount", type: "u8", meaning: "copies the volume has" },
    { name: "checkType", type: "u8", meaning: "check code of new blocks: 1 xxh64, 2 crc32, 3 sha256" },
    { name: "reserved0", type: "reserved", sizeBytes: 3, meaning: "zero" },
    { name: "scrubCursor", type: "u64", meaning: "where the scrub goes on, 0 when none runs" },
    { name: "revalidateCursor", type: "u64", meaning: "where the revalidation goes on, 0 when none runs" },
    {
      name: "logId",
      type: "uuid",
      meaning: "random id of the log that goes on from this root; zero when there is none",
    },
    {
      name: "logHead",
      type: "u48",
      count: COPIES_MAX,
      meaning: "first KiB of the log's first segment on each copy, 0 for none",
    },
    { name: "counters", type: COPY_COUNTERS, count: COPIES_MAX, meaning: "errors of each copy" },
    { name: "freemaps", type: BLOCKREF, count: COPIES_MAX, meaning: "root of the freemap of each copy" },
    { name: "superRoot", type: BLOCKREF, count: BLOCKSET_REFS, meaning: "the tree of PFS blocks" },
    {
      name: "history",
      type: HISTORY_ENTRY,
      count: HISTORY_ENTRIES,
      meaning: "this epoch and its ancestors, newest first",
    },
    { name: "lastSeen", type: LAST_SEEN, count: COPIES_MAX, meaning: "what was last known of each copy" },
    { name: "scrub", type: SCRUB_RECORD, meaning: "the last scrub; zero when there was none" },
    { name: "reserved1", type: "reserved", sizeBytes: 2600, meaning: "zero" },
    {
      name: "check",
      type: "bytes",
      sizeBytes: 32,
      meaning: "SHA-256 over this block with a zero check, copy UUID, byte offset within the copy (u64), volume UUID",
    },
  ],
);

const FORMAT_VERSION_AT = offsetOf(ROOT_BLOCK, "formatVersion");
const COMPAT = offsetOf(ROOT_BLOCK, "compat");
const RO_COMPAT = offsetOf(ROOT_BLOCK, "roCompat");
const INCOMPAT = offsetOf(ROOT_BLOCK, "incompat");
const VOLUME_UUID = offsetOf(ROOT_BLOCK, "volumeUuid");
const LABEL = offsetOf(ROOT_BLOCK, "label");
const COPY_UUID = offsetOf(ROOT_BLOCK, "copyUuid");
const EPOCH = offsetOf(ROOT_BLOCK, "epoch");
const VERSION = offsetOf(ROOT_BLOCK, "version");
const SEQUENCE = offsetOf(ROOT_BLOCK, "sequence");
const COPY_INDEX = offsetOf(ROOT_BLOCK, "copyIndex");
const IN_SYNC = offsetOf(ROOT_BLOCK, "inSync");
const MIN_COPIES = offsetOf(ROOT_BLOCK, "minCopies");
const COPY_COUNT = offsetOf(ROOT_BLOCK, "copyCount");
const CHECK_TYPE = offsetOf(ROOT_BLOCK, "checkType");
const SCRUB_CURSOR = offsetOf(ROOT_BLOCK, "scrubCursor");
const REVALIDATE_CURSOR = offsetOf(ROOT_BLOCK, "revalidateCursor");
const COUNTERS = offsetOf(ROOT_BLOCK, "counters");
const SCRUB = offsetOf(ROOT_BLOCK, "scrub");
/** Eight blockrefs, one freemap tree per copy. */
export const ROOT_FREEMAPS_OFFSET = offsetOf(ROOT_BLOCK, "freemaps");
/** Four blockrefs: the root of the tree of PFS blocks. */
export const ROOT_SUPER_OFFSET = offsetOf(ROOT_BLOCK, "superRoot");

/** Byte of the blockref of copy `index`'s freemap tree. */
export const rootFreemapOffset = (index: number): number => ROOT_FREEMAPS_OFFSET + index * BLOCKREF_BYTES;

export const rootFormatVersion = (v: DataView): number => v.getUint32(FORMAT_VERSION_AT, true);
export const rootFeatures = (v: DataView): { compat: number; roCompat: number; incompat: number } => ({
  compat: v.getUint32(COMPAT, true),
  roCompat: v.getUint32(RO_COMPAT, true),
  incompat: v.getUint32(INCOMPAT, true),
});
export const rootSequence = (v: DataView): number => readU64(v, SEQUENCE);
export const rootCopyIndex = (v: DataView): number => v.getUint8(COPY_INDEX);
export const rootInSync = (v: DataView): number => v.getUint8(IN_SYNC);
export const rootMinCopies = (v: DataView): number => v.getUint8(MIN_COPIES);
export const rootCopyCount = (v: DataView): number => v.getUint8(COPY_COUNT);
export const rootCheckType = (v: DataView): number => v.getUint8(CHECK_TYPE);
export const rootScrubCursor = (v: DataView): number => readU64(v, SCRUB_CURSOR);
export const rootRevalidateCursor = (v: DataView): number => readU64(v, REVALIDATE_CURSOR);
export const rootVolumeUuid = (v: DataView): Uuid => bytesAt(v, VOLUME_UUID, 16);
export const rootCopyUuid = (v: DataView): Uuid => bytesAt(v, COPY_UUID, 16);
export const rootEpoch = (v: DataView): Uuid => bytesAt(v, EPOCH, 16);
export const rootVersion = (v: DataView): Uint8Array => bytesAt(v, VERSION, VERSION_BYTES);
export const rootLabel = (v: DataView, place = "root"): string =>
  decodeText(bytesAt(v, 0, ROOT_BYTES), LABEL, LABEL_BYTES, `${place}: label`);

/** Notes that writing to the volume takes a program that knows these features. */
export const addRootRoCompat = (v: DataView, bits: number): void =>
  v.setUint32(RO_COMPAT, (v.getUint32(RO_COMPAT, true) | bits) >>> 0, true);
export const setRootInSync = (v: DataView, mask: number): void => v.setUint8(IN_SYNC, mask);
/** How many copies the volume has, and how many of them must be in sync for it to be writable. */
export function setRootCopyCount(v: DataView, copyCount: number, minCopies: number): void {
  v.setUint8(COPY_COUNT, copyCount);
  v.setUint8(MIN_COPIES, minCopies);
}
export const setRootMinCopies = (v: DataView, count: number): void => v.setUint8(MIN_COPIES, count);
export const setRootScrubCursor = (v: DataView, cursor: number): void => writeU64(v, SCRUB_CURSOR, cursor);
export const setRootRevalidateCursor = (v: DataView, cursor: number): void => writeU64(v, REVALIDATE_CURSOR, cursor);

/** What went wrong on copy `copy`. */
export const rootCounters = (v: DataView, copy: number): CopyCounters =>
  readCounters(v, COUNTERS + copy * COPY_COUNTERS.sizeBytes);
export const setRootCounters = (v: DataView, copy: number, counters: Readonly<CopyCounters>): void =>
  writeCounters(v, COUNTERS + copy * COPY_COUNTERS.sizeBytes, counters);

/** What the last scrub found, or the one under way. */
export const rootScrub = (v: DataView): ScrubRecord => readScrubRecord(v, SCRUB);
export const setRootScrub = (v: DataView, record: Readonly<ScrubRecord>): void => writeScrubRecord(v, SCRUB, record);
