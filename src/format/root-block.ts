// The root block: 8 KiB that name everything else of a volume as of one commit. Each copy keeps its newest three in its
// root ring, front and back. All copies hold the same root but for what binds it to its place: copy, version and seal.
// Invariants: I2 (a root names only what is flushed), I6 (epoch, history, last seen), I12. The seal covers the place, so
// a misplaced or stale root never verifies.
// The volume keeps one image of it in memory and edits that in place; accessors take its DataView.

import { readU64, writeU64 } from "../base/integers.ts";
import { equalBytes, isZero, type Uuid } from "../base/uuid.ts";
import { BLOCKREF, BLOCKREF_BYTES, BLOCKSET_REFS } from "./blockref.ts";
import { sha256 } from "./check.ts";
import { COPIES_MAX } from "./geometry.ts";
import { LABEL_BYTES } from "./node-header.ts";
import { declareStructure, offsetOf } from "./structure.ts";
import { decodeText, encodeText } from "./text.ts";
import { VERSION_BYTES } from "./version-chain.ts";

export const ROOT_BYTES = 8192;
export const ROOT_MAGIC = "H2TSROOT";
export const HISTORY_ENTRIES = 64;
export const TARGET_HINT_BYTES = 160;
/** Which nodes make up a copy. */
export const ROW_BYTES = 8;
/** Sequences never come near 2^53: a root that claims so is damaged, whatever its check says (trap 9). */
export const SEQUENCE_MAX = 2 ** 52;

export const HISTORY_ENTRY = declareStructure("history-entry", 24, "One epoch of the volume's lineage.", [
  { name: "epoch", type: "uuid", meaning: "random id of the epoch; zero when the entry is unused" },
  { name: "sequence", type: "u64", meaning: "highest sequence issued in it" },
]);

export const LAST_SEEN = declareStructure("last-seen", 256, "What was last known of one copy.", [
  { name: "copyUuid", type: "uuid", meaning: "identity of the copy; zero when this index has no copy" },
  { name: "epoch", type: "uuid", meaning: "epoch of the newest root written to it" },
  { name: "version", type: "bytes", sizeBytes: VERSION_BYTES, meaning: "version of the newest root written to it" },
  { name: "sequence", type: "u64", meaning: "sequence of the newest root written to it" },
  { name: "sizeKib", type: "u64", meaning: "size of the copy" },
  {
    name: "target",
    type: "text",
    sizeBytes: TARGET_HINT_BYTES,
    meaning: "where it was, a hint for people, zero-padded",
  },
  { name: "issued", type: "u64", meaning: "highest sequence that may have been written to it, in that epoch" },
  {
    name: "flags",
    type: "u8",
    meaning:
      "bit 0 taken offline by the operator; bit 1 its pointers are not trusted; bit 2 leaving; bit 3 joining as a replacement; bit 4 never complete yet; bit 5 selected as master",
  },
  { name: "replaces", type: "u8", meaning: "with bit 3: index of the copy whose place it takes once it is complete" },
  { name: "joined", type: "u64", meaning: "sequence of the root with which it last came into sync; 0 since mkfs" },
  {
    name: "row",
    type: "bytes",
    sizeBytes: ROW_BYTES,
    meaning: "first bytes of SHA-256 over the UUIDs of its nodes in their order; zero while none was ever replaced",
  },
  { name: "reserved", type: "reserved", sizeBytes: 6, meaning: "zero" },
]);

/** Flags of a copy that a root remembers. */
export const MemberFlag = {
  /** The operator took it out: it does not come back by itself. */
  OFFLINE: 0x01,
  /** What its pointers name was not written in our lineage, or may be gone: each is checked before it counts (I6). */
  UNTRUSTED: 0x02,
  /** Detached: its pointers are being cleared, then its index is free. */
  LEAVING: 0x04,
  /** Takes the place of copy `replaces` when complete. */
  REPLACING: 0x08,
  /** Attached and never complete yet: it does not count for how many copies are needed. */
  ARRIVING: 0x10,
  /** The operator selected it: metadata is read from it while it is in sync. At most one has it. */
  MASTER: 0x20,
} as const;

export const COPY_COUNTERS = declareStructure("copy-counters", 16, "What went wrong on one copy since mkfs.", [
  { name: "readErrors", type: "u32", meaning: "reads the device refused" },
  { name: "writeErrors", type: "u32", meaning: "writes and flushes the device refused" },
  { name: "checkErrors", type: "u32", meaning: "blocks whose check code did not match" },
  { name: "repaired", type: "u32", meaning: "blocks rewritten from another copy" },
]);

export const SCRUB_RECORD = declareStructure("scrub-record", 64, "How far the last scrub came, and what it found.", [
  { name: "finishedSec", type: "u64", meaning: "when it ended, seconds since 1970; 0 while it goes on" },
  { name: "blocks", type: "u64", meaning: "blocks read, each copy's counted by itself" },
  { name: "bytes", type: "u64", meaning: "bytes read" },
  { name: "errors", type: "u64", meaning: "of them, how many were bad" },
  { name: "repaired", type: "u64", meaning: "of the bad ones, how many were rewritten from a good copy" },
  { name: "lost", type: "u64", meaning: "blocks that no copy could give" },
  { name: "reserved", type: "reserved", sizeBytes: 16, meaning: "zero" },
]);

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
const HISTORY = offsetOf(ROOT_BLOCK, "history");
const LAST_SEEN_AT = offsetOf(ROOT_BLOCK, "lastSeen");
export const ROOT_CHECK_OFFSET = offsetOf(ROOT_BLOCK, "check");
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
export const setRootVersion = (v: DataView, version: Uint8Array): void =>
  bytesAt(v, VERSION, VERSION_BYTES).set(version);

/** Sets the sequence, and with it the highest sequence issued in the present epoch. */
export function setRootSequence(v: DataView, sequence: number): void {
  writeU64(v, SEQUENCE, sequence);
  writeU64(v, HISTORY + 16, sequence);
}

/** Begins a new epoch: the history moves down by one, its oldest entry is forgotten. */
export function beginRootEpoch(v: DataView, epoch: Uuid): void {
  const history = bytesAt(v, HISTORY, HISTORY_ENTRIES * HISTORY_ENTRY.sizeBytes);
  history.copyWithin(HISTORY_ENTRY.sizeBytes, 0, history.length - HISTORY_ENTRY.sizeBytes);
  history.set(epoch, 0);
  writeU64(v, HISTORY + 16, rootSequence(v));
  bytesAt(v, EPOCH, 16).set(epoch);
}

/** Highest sequence issued in the `entry`-th newest epoch, and that epoch. */
export const rootHistory = (v: DataView, entry: number): { epoch: Uuid; sequence: number } => ({
  epoch: bytesAt(v, HISTORY + entry * HISTORY_ENTRY.sizeBytes, 16),
  sequence: readU64(v, HISTORY + entry * HISTORY_ENTRY.sizeBytes + 16),
});

export interface CopyCounters {
  read: number;
  write: number;
  checksum: number;
  repaired: number;
}

export function rootCounters(v: DataView, copy: number): CopyCounters {
  const at = COUNTERS + copy * COPY_COUNTERS.sizeBytes;
  return {
    read: v.getUint32(at, true),
    write: v.getUint32(at + 4, true),
    checksum: v.getUint32(at + 8, true),
    repaired: v.getUint32(at + 12, true),
  };
}

export function setRootCounters(v: DataView, copy: number, counters: CopyCounters): void {
  const at = COUNTERS + copy * COPY_COUNTERS.sizeBytes;
  const cap = (count: number): number => Math.min(count, 0xffff_ffff);
  v.setUint32(at, cap(counters.read), true);
  v.setUint32(at + 4, cap(counters.write), true);
  v.setUint32(at + 8, cap(counters.checksum), true);
  v.setUint32(at + 12, cap(counters.repaired), true);
}

const SCRUB = offsetOf(ROOT_BLOCK, "scrub");

export interface ScrubRecord {
  /** 0 while it goes on. */
  finishedSec: number;
  blocks: number;
  bytes: number;
  errors: number;
  repaired: number;
  lost: number;
}

const SCRUB_FIELDS = ["finishedSec", "blocks", "bytes", "errors", "repaired", "lost"] as const;

export function rootScrub(v: DataView): ScrubRecord {
  const record = { finishedSec: 0, blocks: 0, bytes: 0, errors: 0, repaired: 0, lost: 0 };
  SCRUB_FIELDS.forEach((field, i) => (record[field] = readU64(v, SCRUB + i * 8)));
  return record;
}

export function setRootScrub(v: DataView, record: Readonly<ScrubRecord>): void {
  SCRUB_FIELDS.forEach((field, i) => writeU64(v, SCRUB + i * 8, record[field]));
}

export interface LastSeen {
  readonly copyUuid: Uuid;
  readonly epoch: Uuid;
  readonly version: Uint8Array;
  readonly sequence: number;
  readonly sizeKib: number;
  readonly target: string;
  /** Highest sequence that may have been written to it. */
  readonly issued: number;
  /** MemberFlag. */
  readonly flags: number;
  readonly replaces: number;
  /**
   * Sequence of the root with which it last came into sync: older roots on its ring are of before it was away, and what
   * they name may long be used again on the other copies.
   */
  readonly joined: number;
  /** Which nodes it is made of (`rowOf`); undefined while none was ever replaced. */
  readonly row: Uint8Array | undefined;
}

const SEEN = {
  epoch: offsetOf(LAST_SEEN, "epoch"),
  version: offsetOf(LAST_SEEN, "version"),
  sequence: offsetOf(LAST_SEEN, "sequence"),
  sizeKib: offsetOf(LAST_SEEN, "sizeKib"),
  target: offsetOf(LAST_SEEN, "target"),
  issued: offsetOf(LAST_SEEN, "issued"),
  flags: offsetOf(LAST_SEEN, "flags"),
  replaces: offsetOf(LAST_SEEN, "replaces"),
  joined: offsetOf(LAST_SEEN, "joined"),
  row: offsetOf(LAST_SEEN, "row"),
} as const;

/** What of it tells which root was seen last. */
const SEEN_ROOT = [
  [SEEN.epoch, 16],
  [SEEN.version, VERSION_BYTES],
  [SEEN.sequence, 8],
  [SEEN.issued, 8],
] as const;

/** What the root knows of copy `index`; undefined when the volume has no such copy. */
export function rootLastSeen(v: DataView, index: number, place = "root"): LastSeen | undefined {
  const at = LAST_SEEN_AT + index * LAST_SEEN.sizeBytes;
  const copyUuid = bytesAt(v, at, 16);
  if (isZero(copyUuid)) return undefined;
  return {
    copyUuid,
    epoch: bytesAt(v, at + SEEN.epoch, 16),
    version: bytesAt(v, at + SEEN.version, VERSION_BYTES),
    sequence: readU64(v, at + SEEN.sequence),
    sizeKib: readU64(v, at + SEEN.sizeKib),
    target: decodeText(
      bytesAt(v, 0, ROOT_BYTES),
      at + SEEN.target,
      TARGET_HINT_BYTES,
      `${place}: target of copy ${index}`,
    ),
    // Volumes made before this field have none: there only roots that all copies got were ever written.
    issued: Math.max(readU64(v, at + SEEN.issued), readU64(v, at + SEEN.sequence)),
    flags: v.getUint8(at + SEEN.flags),
    replaces: v.getUint8(at + SEEN.replaces),
    joined: readU64(v, at + SEEN.joined),
    row: isZero(bytesAt(v, at + SEEN.row, ROW_BYTES)) ? undefined : bytesAt(v, at + SEEN.row, ROW_BYTES),
  };
}

/** Bit for each copy the volume has, present or not. */
export function rootMembers(v: DataView): number {
  let mask = 0;
  for (let index = 0; index < COPIES_MAX; index++) {
    const at = LAST_SEEN_AT + index * LAST_SEEN.sizeBytes;
    if (!isZero(bytesAt(v, at, 16))) mask |= 1 << index;
  }
  return mask;
}

/** Enters what is known of copy `index`; `undefined` forgets it. */
export function setRootLastSeen(
  v: DataView,
  index: number,
  seen: (Omit<LastSeen, "issued" | "flags" | "replaces" | "joined" | "row"> & Partial<LastSeen>) | undefined,
): void {
  const at = LAST_SEEN_AT + index * LAST_SEEN.sizeBytes;
  const image = bytesAt(v, 0, ROOT_BYTES);
  // What was read from this very image before is about to be wiped.
  const [copyUuid, epoch, version] = [seen?.copyUuid.slice(), seen?.epoch.slice(), seen?.version.slice()];
  const row = seen?.row?.slice();
  image.fill(0, at, at + LAST_SEEN.sizeBytes);
  if (seen === undefined || copyUuid === undefined || epoch === undefined || version === undefined) return;
  writeU64(v, at + SEEN.issued, seen.issued ?? seen.sequence);
  v.setUint8(at + SEEN.flags, seen.flags ?? 0);
  v.setUint8(at + SEEN.replaces, seen.replaces ?? 0);
  writeU64(v, at + SEEN.joined, seen.joined ?? 0);
  image.set(copyUuid, at);
  image.set(epoch, at + SEEN.epoch);
  image.set(version, at + SEEN.version);
  if (row !== undefined) image.set(row, at + SEEN.row);
  writeU64(v, at + SEEN.sequence, seen.sequence);
  writeU64(v, at + SEEN.sizeKib, seen.sizeKib);
  encodeText(hintOf(seen.target), image, at + SEEN.target, TARGET_HINT_BYTES, "target hint");
}

/** Notes which root copy `index` is getting; the rest of what is known of it stays. */
export function setRootLastSeenRoot(v: DataView, index: number, sequence: number, version: Uint8Array): void {
  const at = LAST_SEEN_AT + index * LAST_SEEN.sizeBytes;
  bytesAt(v, at + SEEN.epoch, 16).set(rootEpoch(v));
  bytesAt(v, at + SEEN.version, VERSION_BYTES).set(version);
  writeU64(v, at + SEEN.sequence, sequence);
  setRootIssued(v, index, sequence);
}

/** Takes over from root image `from` which root copy `index` was last seen with; all else known of it stays. */
export function copyRootLastSeenRoot(from: DataView, to: DataView, index: number): void {
  const at = LAST_SEEN_AT + index * LAST_SEEN.sizeBytes;
  for (const [field, sizeBytes] of SEEN_ROOT)
    bytesAt(to, at + field, sizeBytes).set(bytesAt(from, at + field, sizeBytes));
}

/** Notes that a root of this sequence may reach copy `index` from now on. */
export const setRootIssued = (v: DataView, index: number, sequence: number): void =>
  writeU64(v, LAST_SEEN_AT + index * LAST_SEEN.sizeBytes + SEEN.issued, sequence);

/** Notes with which root copy `index` came into sync. */
export const setRootJoined = (v: DataView, index: number, sequence: number): void =>
  writeU64(v, LAST_SEEN_AT + index * LAST_SEEN.sizeBytes + SEEN.joined, sequence);

export const rootMemberFlags = (v: DataView, index: number): number =>
  v.getUint8(LAST_SEEN_AT + index * LAST_SEEN.sizeBytes + SEEN.flags);
export const setRootMemberFlags = (v: DataView, index: number, flags: number): void =>
  v.setUint8(LAST_SEEN_AT + index * LAST_SEEN.sizeBytes + SEEN.flags, flags);
/** Notes which nodes make up copy `index`, as `rowOf` tells it. */
export const setRootRow = (v: DataView, index: number, row: Uint8Array): void =>
  bytesAt(v, LAST_SEEN_AT + index * LAST_SEEN.sizeBytes + SEEN.row, ROW_BYTES).set(row);

/** Tells rows of nodes apart, by the UUIDs of the nodes in their order. */
export const rowOf = (nodeUuids: readonly Uuid[]): Uint8Array => sha256(...nodeUuids).slice(0, ROW_BYTES);

/** Says that copy `index` takes the place of copy `replaced` once it is complete. */
export function setRootReplaces(v: DataView, index: number, replaced: number): void {
  v.setUint8(LAST_SEEN_AT + index * LAST_SEEN.sizeBytes + SEEN.replaces, replaced);
}
export const setRootTarget = (v: DataView, index: number, target: string): void => {
  const at = LAST_SEEN_AT + index * LAST_SEEN.sizeBytes + SEEN.target;
  bytesAt(v, at, TARGET_HINT_BYTES).fill(0);
  encodeText(hintOf(target), bytesAt(v, 0, ROOT_BYTES), at, TARGET_HINT_BYTES, "target hint");
};

/** A path too long for the hint keeps its end, the part people know it by. */
function hintOf(target: string): string {
  const points = Array.from(target.replace(/[\u0000-\u001f\u007f]/g, "?"));
  if (Buffer.byteLength(target) <= TARGET_HINT_BYTES) return points.join("");
  while (Buffer.byteLength(points.join("")) > TARGET_HINT_BYTES - 3) points.shift();
  return `…${points.join("")}`;
}

export interface RootIdentity {
  readonly volumeUuid: Uuid;
  readonly label: string;
  readonly epoch: Uuid;
  readonly copyCount: number;
  readonly minCopies: number;
  readonly checkType: number;
}

/** A root image for a new volume: all copies in sync, no trees yet, no version or sequence. */
export function createRootImage(identity: RootIdentity): Uint8Array {
  const image = new Uint8Array(ROOT_BYTES);
  const v = new DataView(image.buffer);
  image.set(new TextEncoder().encode(ROOT_MAGIC), 0);
  v.setUint32(FORMAT_VERSION_AT, 1, true);
  image.set(identity.volumeUuid, VOLUME_UUID);
  encodeText(identity.label, image, LABEL, LABEL_BYTES, "label");
  image.set(identity.epoch, EPOCH);
  image.set(identity.epoch, HISTORY);
  v.setUint8(IN_SYNC, 2 ** identity.copyCount - 1);
  v.setUint8(MIN_COPIES, identity.minCopies);
  v.setUint8(COPY_COUNT, identity.copyCount);
  v.setUint8(CHECK_TYPE, identity.checkType);
  return image;
}

/** The on-media bytes of `image` for byte `offsetBytes` of one copy; `image` itself stays as it is. */
export function sealRoot(
  image: Uint8Array,
  copyUuid: Uuid,
  copyIndex: number,
  offsetBytes: number,
  version?: Uint8Array,
): Uint8Array {
  const sealed = image.slice();
  sealed.set(copyUuid, COPY_UUID);
  sealed[COPY_INDEX] = copyIndex;
  if (version !== undefined) sealed.set(version, VERSION);
  sealed.set(rootSeal(sealed, copyUuid, offsetBytes), ROOT_CHECK_OFFSET);
  return sealed;
}

/** True when `bytes` carry the seal of a root of copy `copyUuid` at byte `offsetBytes` of it. */
export function rootSealMatches(bytes: Uint8Array, copyUuid: Uuid, offsetBytes: number): boolean {
  return equalBytes(rootSeal(bytes, copyUuid, offsetBytes), bytes.subarray(ROOT_CHECK_OFFSET));
}

function rootSeal(bytes: Uint8Array, copyUuid: Uuid, offsetBytes: number): Uint8Array {
  const offset = new Uint8Array(8);
  writeU64(new DataView(offset.buffer), 0, offsetBytes);
  const zeroCheck = new Uint8Array(32);
  return sha256(
    bytes.subarray(0, ROOT_CHECK_OFFSET),
    zeroCheck,
    copyUuid,
    offset,
    bytes.subarray(VOLUME_UUID, VOLUME_UUID + 16),
  );
}

function bytesAt(v: DataView, at: number, lengthBytes: number): Uint8Array {
  return new Uint8Array(v.buffer, v.byteOffset + at, lengthBytes);
}
