// The node header: 4 KiB at byte 0 of every device and again at byte 32,768. It says which ranges of the device belong
// to which copy of which volume, so that targets can be given in any order and mixed-up ones are recognised.
// Invariants: I12 (decoding validates everything). Cold path: encoded from and decoded to plain objects.

import { readU64, writeU64 } from "../base/integers.ts";
import { equalBytes, isZero, type Uuid } from "../base/uuid.ts";
import { sha256 } from "./check.ts";
import { type Features, FORMAT_VERSION } from "./features.ts";
import { FormatError } from "./format-error.ts";
import {
  BLOCK_MAX_KIB,
  COPIES_MAX,
  COPY_MAX_KIB,
  KIB,
  NODE_HEADER_AREA_BYTES,
  NODE_HEADER_BACKUP_BYTES,
} from "./geometry.ts";
import { declareStructure, firstDirtyReserved, offsetOf } from "./structure.ts";
import { decodeText, encodeText } from "./text.ts";

export const NODE_HEADER_BYTES = 4096;
export const NODE_HEADER_MAGIC = "H2TSNODE";
const NODE_RANGES_MAX = 8;
/** Byte offsets of the two places a node header is kept at. */
export const NODE_HEADER_OFFSETS: readonly number[] = Object.freeze([0, NODE_HEADER_BACKUP_BYTES]);
export const LABEL_BYTES = 64;
export const NODES_PER_ROW_MAX = 255;

export const NODE_RANGE = declareStructure("node-range", 128, "A part of a device that is one node of one copy.", [
  { name: "copyUuid", type: "uuid", meaning: "identity of the copy" },
  { name: "nodeUuid", type: "uuid", meaning: "identity of the node" },
  { name: "copyIndex", type: "u8", meaning: "index of the copy, 0–7" },
  { name: "nodePosition", type: "u8", meaning: "place of the node in its row, from 0" },
  { name: "nodeCount", type: "u8", meaning: "nodes in the row, 1–255" },
  { name: "reserved0", type: "reserved", sizeBytes: 5, meaning: "zero" },
  { name: "startKib", type: "u64", meaning: "where the range starts on the device, a multiple of 64" },
  { name: "sizeKib", type: "u64", meaning: "size of the range, a multiple of 64" },
  { name: "copyStartKib", type: "u64", meaning: "where the range starts within the copy, a multiple of 64" },
  { name: "reserved1", type: "reserved", sizeBytes: 64, meaning: "zero" },
]);

export const NODE_HEADER = declareStructure(
  "node-header",
  NODE_HEADER_BYTES,
  "First block of every device, kept twice: what of the device belongs to which copy.",
  [
    { name: "magic", type: "bytes", sizeBytes: 8, meaning: '"H2TSNODE"' },
    { name: "formatVersion", type: "u32", meaning: "1" },
    { name: "compat", type: "u32", meaning: "features that unknowing programs may ignore" },
    { name: "roCompat", type: "u32", meaning: "features that unknowing programs may only read" },
    { name: "incompat", type: "u32", meaning: "features that unknowing programs must keep away from" },
    { name: "volumeUuid", type: "uuid", meaning: "identity of the volume" },
    { name: "label", type: "text", sizeBytes: LABEL_BYTES, meaning: "name of the volume, UTF-8, zero-padded" },
    { name: "rangeCount", type: "u8", meaning: "entries in use in the table of ranges, 1–8" },
    { name: "reserved0", type: "reserved", sizeBytes: 7, meaning: "zero" },
    {
      name: "ranges",
      type: NODE_RANGE,
      count: NODE_RANGES_MAX,
      meaning: "what lies on this device; unused entries are zero",
    },
    { name: "reserved1", type: "reserved", sizeBytes: 2928, meaning: "zero" },
    {
      name: "check",
      type: "bytes",
      sizeBytes: 32,
      meaning: "SHA-256 over this block with a zero check, then its byte offset (u64)",
    },
  ],
);

const AT = {
  formatVersion: offsetOf(NODE_HEADER, "formatVersion"),
  compat: offsetOf(NODE_HEADER, "compat"),
  roCompat: offsetOf(NODE_HEADER, "roCompat"),
  incompat: offsetOf(NODE_HEADER, "incompat"),
  volumeUuid: offsetOf(NODE_HEADER, "volumeUuid"),
  label: offsetOf(NODE_HEADER, "label"),
  rangeCount: offsetOf(NODE_HEADER, "rangeCount"),
  ranges: offsetOf(NODE_HEADER, "ranges"),
  check: offsetOf(NODE_HEADER, "check"),
} as const;

const RANGE_AT = {
  copyUuid: offsetOf(NODE_RANGE, "copyUuid"),
  nodeUuid: offsetOf(NODE_RANGE, "nodeUuid"),
  copyIndex: offsetOf(NODE_RANGE, "copyIndex"),
  nodePosition: offsetOf(NODE_RANGE, "nodePosition"),
  nodeCount: offsetOf(NODE_RANGE, "nodeCount"),
  startKib: offsetOf(NODE_RANGE, "startKib"),
  sizeKib: offsetOf(NODE_RANGE, "sizeKib"),
  copyStartKib: offsetOf(NODE_RANGE, "copyStartKib"),
} as const;

export interface NodeRange {
  readonly copyUuid: Uuid;
  readonly nodeUuid: Uuid;
  readonly copyIndex: number;
  readonly nodePosition: number;
  readonly nodeCount: number;
  readonly startKib: number;
  readonly sizeKib: number;
  readonly copyStartKib: number;
}

export interface NodeHeader {
  readonly formatVersion: number;
  readonly features: Features;
  readonly volumeUuid: Uuid;
  readonly label: string;
  readonly ranges: readonly NodeRange[];
}

/** The bytes of `header` for the place `offsetBytes` of a device. */
export function encodeNodeHeader(header: NodeHeader, offsetBytes: number): Uint8Array {
  const place = "node header";
  validateRanges(header.ranges, place, undefined);
  const bytes = new Uint8Array(NODE_HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(NODE_HEADER_MAGIC), 0);
  view.setUint32(AT.formatVersion, header.formatVersion, true);
  view.setUint32(AT.compat, header.features.compat, true);
  view.setUint32(AT.roCompat, header.features.roCompat, true);
  view.setUint32(AT.incompat, header.features.incompat, true);
  bytes.set(header.volumeUuid, AT.volumeUuid);
  encodeText(header.label, bytes, AT.label, LABEL_BYTES, `${place}: label`);
  bytes[AT.rangeCount] = header.ranges.length;
  header.ranges.forEach((range, i) => {
    const at = AT.ranges + i * NODE_RANGE.sizeBytes;
    bytes.set(range.copyUuid, at + RANGE_AT.copyUuid);
    bytes.set(range.nodeUuid, at + RANGE_AT.nodeUuid);
    bytes[at + RANGE_AT.copyIndex] = range.copyIndex;
    bytes[at + RANGE_AT.nodePosition] = range.nodePosition;
    bytes[at + RANGE_AT.nodeCount] = range.nodeCount;
    writeU64(view, at + RANGE_AT.startKib, range.startKib);
    writeU64(view, at + RANGE_AT.sizeKib, range.sizeKib);
    writeU64(view, at + RANGE_AT.copyStartKib, range.copyStartKib);
  });
  bytes.set(seal(bytes, offsetBytes), AT.check);
  return bytes;
}

/** True when the bytes claim to be a node header, damaged or not. */
export function hasNodeHeaderMagic(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, 8).toString("latin1") === NODE_HEADER_MAGIC;
}

/**
 * Decodes a node header read at `offsetBytes` of a device of `deviceBytes`.
 * Version and features are returned, not judged: only the seal and the layout are. Throws FormatError naming `device`.
 */
export function decodeNodeHeader(
  bytes: Uint8Array,
  offsetBytes: number,
  device: string,
  deviceBytes: number,
): NodeHeader {
  const place = `${device}: node header at byte ${offsetBytes}`;
  if (bytes.length !== NODE_HEADER_BYTES)
    throw new FormatError(place, `is ${bytes.length} bytes long, not ${NODE_HEADER_BYTES}`);
  if (!hasNodeHeaderMagic(bytes)) throw new FormatError(place, "is not an h2ts node header");
  if (!equalBytes(seal(bytes, offsetBytes), bytes.subarray(AT.check)))
    throw new FormatError(place, "check code does not match");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const header: NodeHeader = {
    formatVersion: view.getUint32(AT.formatVersion, true),
    features: {
      compat: view.getUint32(AT.compat, true),
      roCompat: view.getUint32(AT.roCompat, true),
      incompat: view.getUint32(AT.incompat, true),
    },
    volumeUuid: bytes.slice(AT.volumeUuid, AT.volumeUuid + 16),
    label: "",
    ranges: [],
  };
  // The layout of another version is none of our business; the caller refuses it by its number.
  if (header.formatVersion !== FORMAT_VERSION) return header;
  const dirty = firstDirtyReserved(NODE_HEADER, bytes);
  if (dirty !== undefined) throw new FormatError(place, `${dirty} is not zero`);
  if (isZero(header.volumeUuid)) throw new FormatError(place, "volume UUID is zero");
  const rangeCount = bytes[AT.rangeCount] as number;
  if (rangeCount < 1 || rangeCount > NODE_RANGES_MAX) throw new FormatError(place, `lists ${rangeCount} ranges`);
  const ranges: NodeRange[] = [];
  for (let i = 0; i < NODE_RANGES_MAX; i++) {
    const at = AT.ranges + i * NODE_RANGE.sizeBytes;
    if (i < rangeCount) ranges.push(decodeRange(bytes, view, at, `${place}, range ${i}`));
    else if (!isZero(bytes.subarray(at, at + NODE_RANGE.sizeBytes)))
      throw new FormatError(place, `unused range ${i} is not zero`);
  }
  validateRanges(ranges, place, deviceBytes);
  return { ...header, label: decodeText(bytes, AT.label, LABEL_BYTES, `${place}: label`), ranges };
}

function decodeRange(bytes: Uint8Array, view: DataView, at: number, place: string): NodeRange {
  const dirty = firstDirtyReserved(NODE_RANGE, bytes, at);
  if (dirty !== undefined) throw new FormatError(place, `${dirty} is not zero`);
  try {
    return {
      copyUuid: bytes.slice(at + RANGE_AT.copyUuid, at + RANGE_AT.copyUuid + 16),
      nodeUuid: bytes.slice(at + RANGE_AT.nodeUuid, at + RANGE_AT.nodeUuid + 16),
      copyIndex: bytes[at + RANGE_AT.copyIndex] as number,
      nodePosition: bytes[at + RANGE_AT.nodePosition] as number,
      nodeCount: bytes[at + RANGE_AT.nodeCount] as number,
      startKib: readU64(view, at + RANGE_AT.startKib),
      sizeKib: readU64(view, at + RANGE_AT.sizeKib),
      copyStartKib: readU64(view, at + RANGE_AT.copyStartKib),
    };
  } catch (error) {
    if (error instanceof RangeError) throw new FormatError(place, error.message);
    throw error;
  }
}

function validateRanges(ranges: readonly NodeRange[], place: string, deviceBytes: number | undefined): void {
  if (ranges.length < 1 || ranges.length > NODE_RANGES_MAX)
    throw new FormatError(place, `lists ${ranges.length} ranges`);
  ranges.forEach((range, i) => {
    const where = `${place}, range ${i}`;
    if (isZero(range.copyUuid)) throw new FormatError(where, "copy UUID is zero");
    if (isZero(range.nodeUuid)) throw new FormatError(where, "node UUID is zero");
    if (range.copyIndex >= COPIES_MAX) throw new FormatError(where, `copy index is ${range.copyIndex}`);
    if (range.nodeCount < 1 || range.nodeCount > NODES_PER_ROW_MAX)
      throw new FormatError(where, `row of ${range.nodeCount} nodes`);
    if (range.nodePosition >= range.nodeCount)
      throw new FormatError(where, `node ${range.nodePosition} of a row of ${range.nodeCount}`);
    for (const name of ["startKib", "sizeKib", "copyStartKib"] as const) {
      const kib = range[name];
      if (!Number.isSafeInteger(kib) || kib < 0 || kib > COPY_MAX_KIB)
        throw new FormatError(where, `${name} is ${kib}`);
      if (kib % BLOCK_MAX_KIB !== 0)
        throw new FormatError(where, `${name} ${kib} is not a multiple of ${BLOCK_MAX_KIB}`);
    }
    if (range.sizeKib === 0) throw new FormatError(where, "is empty");
    if (range.startKib * KIB < NODE_HEADER_AREA_BYTES) throw new FormatError(where, "lies over the node header");
    if (range.copyStartKib + range.sizeKib > COPY_MAX_KIB) throw new FormatError(where, "lies past the largest copy");
    if ((range.nodePosition === 0) !== (range.copyStartKib === 0)) {
      throw new FormatError(where, `node ${range.nodePosition} starts at KiB ${range.copyStartKib} of its copy`);
    }
    if (deviceBytes !== undefined && (range.startKib + range.sizeKib) * KIB > deviceBytes) {
      const neededBytes = (range.startKib + range.sizeKib) * KIB;
      throw new FormatError(
        where,
        `needs a device of ${neededBytes} bytes, this one has ${deviceBytes}: it was truncated`,
      );
    }
  });
  const byStart = [...ranges].sort((a, b) => a.startKib - b.startKib);
  byStart.forEach((range, i) => {
    const next = byStart[i + 1];
    if (next !== undefined && range.startKib + range.sizeKib > next.startKib)
      throw new FormatError(place, "ranges overlap");
  });
}

function seal(bytes: Uint8Array, offsetBytes: number): Uint8Array {
  const offset = new Uint8Array(8);
  writeU64(new DataView(offset.buffer), 0, offsetBytes);
  return sha256(bytes.subarray(0, AT.check), new Uint8Array(32), bytes.subarray(AT.check + 32), offset);
}
