// The payloads of structured reply chunks. Of OFFSET_DATA only the offset is decoded here: its data never lies in one piece.

import { AllocationFlag } from "./constants.ts";
import { encodeText, FieldReader, FieldWriter } from "./fields.ts";

/** So much of the payload of an OFFSET_DATA chunk is its offset. */
export const DATA_OFFSET_BYTES = 8;

export function encodeDataOffset(offsetBytes: number): Uint8Array {
  return new FieldWriter(DATA_OFFSET_BYTES).u64(offsetBytes).bytes;
}

export function decodeDataOffset(bytes: Uint8Array): number {
  const fields = new FieldReader(bytes, "data chunk");
  const offsetBytes = fields.u64("offset");
  fields.end();
  return offsetBytes;
}

/** A range of the export that reads as zero. */
export interface Hole {
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

export function encodeHole(hole: Hole): Uint8Array {
  return new FieldWriter(12).u64(hole.offsetBytes).u32(hole.lengthBytes).bytes;
}

export function decodeHole(payload: Uint8Array): Hole {
  const fields = new FieldReader(payload, "hole chunk");
  const hole = { offsetBytes: fields.u64("offset"), lengthBytes: fields.u32("length") };
  fields.end();
  if (hole.lengthBytes === 0) fields.fail("an empty hole");
  return hole;
}

/** Payload of ERROR and ERROR_OFFSET. */
export interface ChunkError {
  readonly error: number;
  readonly message: string;
  /** Where it happened; only ERROR_OFFSET says so. */
  readonly offsetBytes: number | undefined;
}

export function encodeChunkError(failure: ChunkError): Uint8Array {
  const message = encodeText(failure.message, "message");
  const at = failure.offsetBytes;
  const fields = new FieldWriter(6 + message.length + (at === undefined ? 0 : 8));
  fields.u32(failure.error).u16(message.length).put(message);
  return at === undefined ? fields.bytes : fields.u64(at).bytes;
}

export function decodeChunkError(payload: Uint8Array, hasOffset: boolean): ChunkError {
  const fields = new FieldReader(payload, "error chunk");
  const error = fields.u32("error");
  if (error === 0) fields.fail("error number 0");
  const message = fields.text(fields.u16("length of the message"), "message");
  const offsetBytes = hasOffset ? fields.u64("offset") : undefined;
  // Errors we do not know may carry more.
  return { error, message, offsetBytes };
}

/** A stretch of one status in a meta context. */
export interface Extent {
  readonly lengthBytes: number;
  /** AllocationFlag, in base:allocation. */
  readonly flags: number;
}

export interface BlockStatus {
  readonly contextId: number;
  readonly extents: readonly Extent[];
}

/** The length of a status of so many extents. */
export const blockStatusBytes = (extents: number): number => 4 + 8 * extents;

export function encodeBlockStatus(status: BlockStatus): Uint8Array {
  const fields = new FieldWriter(blockStatusBytes(status.extents.length)).u32(status.contextId);
  for (const { lengthBytes, flags } of status.extents) fields.u32(lengthBytes).u32(flags);
  return fields.bytes;
}

export function decodeBlockStatus(payload: Uint8Array): BlockStatus {
  const fields = new FieldReader(payload, "block status");
  const contextId = fields.u32("context");
  if (fields.restBytes === 0 || fields.restBytes % 8 !== 0) fields.fail(`${fields.restBytes} bytes of extents`);
  const extents: Extent[] = [];
  while (fields.restBytes > 0) {
    const extent = { lengthBytes: fields.u32("length"), flags: fields.u32("status") };
    if (extent.lengthBytes === 0) fields.fail("an empty extent");
    extents.push(extent);
  }
  return { contextId, extents };
}

/** Whether an extent of base:allocation reads as zero. */
export function readsAsZero(flags: number): boolean {
  return (flags & AllocationFlag.ZERO) !== 0;
}
