// A log frame: a piece of the stream of records that goes on from a root. Frames lie one after another in segments of
// 64 KiB; each names the segment after its own, so a log is a chain that begins at the root. The same bytes are on every
// copy. What binds a frame: the id of its log (random, in the root), its number, where it lies, and the check of its
// predecessor; so what an older log left in a segment used again never verifies (trap 5).
// Invariants: I4 (a torn tail ends the log, nothing after it counts), I12.

import { readU48, readU64, writeU48, writeU64 } from "../base/integers.ts";
import { equalBytes, type Uuid } from "../base/uuid.ts";
import { CheckType, checkMatches, writeCheck } from "./check.ts";
import { COPIES_MAX, KIB } from "./geometry.ts";
import { declareStructure, offsetOf } from "./structure.ts";

export const LOG_SEGMENT_KIB = 64;
export const LOG_SEGMENT_BYTES = LOG_SEGMENT_KIB * KIB;
/** Frames begin and end at such bounds: a page already acknowledged is never written again. */
export const LOG_FRAME_ALIGN_BYTES = 4096;
export const LOG_FRAME_HEADER_BYTES = 192;
const MAGIC = 0x474f4c48; // "HLOG"

export const LOG_FRAME = declareStructure(
  "log-frame",
  LOG_FRAME_HEADER_BYTES,
  "Head of a piece of the log; its payload follows, zero-padded to 4 KiB.",
  [
    { name: "magic", type: "u32", meaning: '"HLOG"' },
    { name: "payloadBytes", type: "u32", meaning: "length of the payload" },
    { name: "logId", type: "uuid", meaning: "the log it belongs to, as its root names it" },
    { name: "number", type: "u32", meaning: "0 for the first frame of a log, then 1, 2, …" },
    { name: "segment", type: "u32", meaning: "0 for the first segment of a log, then 1, 2, …" },
    { name: "offsetBytes", type: "u32", meaning: "where it begins in its segment" },
    { name: "reserved0", type: "reserved", sizeBytes: 4, meaning: "zero" },
    { name: "streamBytes", type: "u64", meaning: "bytes of the stream in the frames before it" },
    { name: "sureBytes", type: "u64", meaning: "bytes of the stream known to be flushed, with what they name" },
    { name: "next", type: "u48", count: COPIES_MAX, meaning: "first KiB of the segment after this one on each copy" },
    {
      name: "previous",
      type: "bytes",
      sizeBytes: 32,
      meaning: "check of the frame before it; in the first: sequence (u64) and epoch of the root",
    },
    { name: "reserved1", type: "reserved", sizeBytes: 24, meaning: "zero" },
    { name: "check", type: "bytes", sizeBytes: 32, meaning: "check code of head (with a zero check) and payload" },
  ],
);

const AT = {
  magic: offsetOf(LOG_FRAME, "magic"),
  payloadBytes: offsetOf(LOG_FRAME, "payloadBytes"),
  logId: offsetOf(LOG_FRAME, "logId"),
  number: offsetOf(LOG_FRAME, "number"),
  segment: offsetOf(LOG_FRAME, "segment"),
  offsetBytes: offsetOf(LOG_FRAME, "offsetBytes"),
  streamBytes: offsetOf(LOG_FRAME, "streamBytes"),
  sureBytes: offsetOf(LOG_FRAME, "sureBytes"),
  next: offsetOf(LOG_FRAME, "next"),
  previous: offsetOf(LOG_FRAME, "previous"),
  check: offsetOf(LOG_FRAME, "check"),
} as const;

/** Bytes a frame with this payload takes in its segment. */
export function frameBytes(payloadBytes: number): number {
  return Math.ceil((LOG_FRAME_HEADER_BYTES + payloadBytes) / LOG_FRAME_ALIGN_BYTES) * LOG_FRAME_ALIGN_BYTES;
}

/** What tells a frame from every other, besides its payload. */
export interface FramePlace {
  readonly logId: Uuid;
  readonly number: number;
  readonly segment: number;
  readonly offsetBytes: number;
  readonly streamBytes: number;
  /** Check of the frame before it, 32 bytes. */
  readonly previous: Uint8Array;
}

export interface FrameHead extends FramePlace {
  readonly payloadBytes: number;
  readonly sureBytes: number;
  readonly next: readonly number[];
}

/** Seals the frame in `bytes`, whose payload is in place; `bytes` is as long as `frameBytes` says. */
export function sealFrame(bytes: Uint8Array, head: FrameHead): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  bytes.fill(0, 0, LOG_FRAME_HEADER_BYTES);
  bytes.fill(0, LOG_FRAME_HEADER_BYTES + head.payloadBytes);
  view.setUint32(AT.magic, MAGIC, true);
  view.setUint32(AT.payloadBytes, head.payloadBytes, true);
  bytes.set(head.logId, AT.logId);
  view.setUint32(AT.number, head.number, true);
  view.setUint32(AT.segment, head.segment, true);
  view.setUint32(AT.offsetBytes, head.offsetBytes, true);
  writeU64(view, AT.streamBytes, head.streamBytes);
  writeU64(view, AT.sureBytes, head.sureBytes);
  for (let copy = 0; copy < COPIES_MAX; copy++) writeU48(view, AT.next + copy * 6, head.next[copy] ?? 0);
  bytes.set(head.previous, AT.previous);
  writeCheck(CheckType.XXH64, bytes, view, AT.check);
}

/** What stands in the first frame of a log for the check of its predecessor: the root that the log goes on from. */
export function logSeed(sequence: number, epoch: Uuid): Uint8Array {
  const seed = new Uint8Array(32);
  writeU64(new DataView(seed.buffer), 0, sequence);
  seed.set(epoch, 8);
  return seed;
}

/** Check code of a sealed frame, for its successor. A copy. */
export function frameCheck(bytes: Uint8Array): Uint8Array {
  return bytes.slice(AT.check, AT.check + 32);
}

/** A frame that verifies, with the check code that its successor repeats. */
export interface OpenedFrame extends FrameHead {
  readonly payload: Uint8Array;
  readonly check: Uint8Array;
}

/** The frame expected at `place`, if the bytes there, to the end of the segment, begin with exactly it. */
export function openFrame(bytes: Uint8Array, place: FramePlace): OpenedFrame | undefined {
  if (bytes.length < LOG_FRAME_HEADER_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (
    view.getUint32(AT.magic, true) !== MAGIC ||
    !equalBytes(bytes.subarray(AT.logId, AT.logId + 16), place.logId) ||
    view.getUint32(AT.number, true) !== place.number ||
    view.getUint32(AT.segment, true) !== place.segment ||
    view.getUint32(AT.offsetBytes, true) !== place.offsetBytes ||
    !equalBytes(bytes.subarray(AT.previous, AT.previous + 32), place.previous) ||
    !holdsU64(view, AT.streamBytes) ||
    !holdsU64(view, AT.sureBytes) ||
    readU64(view, AT.streamBytes) !== place.streamBytes ||
    sealedBytes(bytes, view) === undefined
  ) {
    return undefined;
  }
  const payloadBytes = view.getUint32(AT.payloadBytes, true);
  return {
    ...place,
    payloadBytes,
    sureBytes: readU64(view, AT.sureBytes),
    next: nextSegment(view),
    payload: bytes.subarray(LOG_FRAME_HEADER_BYTES, LOG_FRAME_HEADER_BYTES + payloadBytes),
    check: frameCheck(bytes),
  };
}

/** Length of the frame at the beginning of `bytes`, if its check code matches. */
function sealedBytes(bytes: Uint8Array, view: DataView): number | undefined {
  const sizeBytes = frameBytes(view.getUint32(AT.payloadBytes, true));
  if (sizeBytes > bytes.length) return undefined;
  const whole = bytes.slice(0, sizeBytes);
  whole.fill(0, AT.check, AT.check + 32);
  return checkMatches(CheckType.XXH64, whole, view, AT.check) ? sizeBytes : undefined;
}

/** False for a number that no program of ours writes, which only a crafted frame has. */
function holdsU64(view: DataView, at: number): boolean {
  return view.getUint32(at + 4, true) <= 0x1f_ffff;
}

/** What is told by a frame wherever it is met, and whatever came before it. */
export interface FrameTrace {
  /** Bytes of its stream that it says are flushed; 0 unless its check code matches. */
  readonly claimedBytes: number;
  /** Where the segment after its own begins on each copy, true or not; undefined when this is not its segment. */
  readonly next: readonly number[] | undefined;
}

/** The trace of log `logId` at the beginning of `bytes`, in its segment number `segment`; undefined when there is no frame of it. */
export function frameTrace(bytes: Uint8Array, logId: Uuid, segment: number): FrameTrace | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < LOG_FRAME_HEADER_BYTES || view.getUint32(AT.magic, true) !== MAGIC) return undefined;
  if (!equalBytes(bytes.subarray(AT.logId, AT.logId + 16), logId)) return undefined;
  const isSound = sealedBytes(bytes, view) !== undefined && holdsU64(view, AT.sureBytes);
  return {
    claimedBytes: isSound ? readU64(view, AT.sureBytes) : 0,
    next: view.getUint32(AT.segment, true) === segment ? nextSegment(view) : undefined,
  };
}

const nextSegment = (view: DataView): number[] =>
  Array.from({ length: COPIES_MAX }, (_, copy) => readU48(view, AT.next + copy * 6));
