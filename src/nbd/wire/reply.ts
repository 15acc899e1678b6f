// Replies of the transmission phase: simple ones, and the chunks of structured ones. A client reads four bytes to see which
// kind comes, or always as many as the shorter header has and then the rest.

import { ChunkFlag, SIMPLE_REPLY_MAGIC, STRUCTURED_REPLY_MAGIC } from "./constants.ts";
import { FieldReader, FieldWriter } from "./fields.ts";
import type { Cookie } from "./request.ts";

export const SIMPLE_REPLY_BYTES = 16;
export const CHUNK_HEADER_BYTES = 20;

export interface SimpleReply {
  readonly kind: "simple";
  /** 0, or one of WireError. */
  readonly error: number;
  readonly cookie: Cookie;
}

export interface ChunkHeader {
  readonly kind: "chunk";
  /** It is the last of its reply. */
  readonly done: boolean;
  /** One of ChunkType, or one we have never heard of. */
  readonly type: number;
  readonly cookie: Cookie;
  readonly lengthBytes: number;
}

export function encodeSimpleReply(error: number, cookie: Cookie): Uint8Array {
  return new FieldWriter(SIMPLE_REPLY_BYTES).u32(SIMPLE_REPLY_MAGIC).u32(error).u32(cookie.high).u32(cookie.low).bytes;
}

/** Header of a chunk whose payload, of `lengthBytes`, the caller sends behind it. */
export function encodeChunkHeader(header: Omit<ChunkHeader, "kind">): Uint8Array {
  return putChunkHeader(new FieldWriter(CHUNK_HEADER_BYTES), header).bytes;
}

/** A whole chunk with a small payload. */
export function encodeChunk(type: number, cookie: Cookie, done: boolean, payload: Uint8Array): Uint8Array {
  const fields = new FieldWriter(CHUNK_HEADER_BYTES + payload.length);
  return putChunkHeader(fields, { done, type, cookie, lengthBytes: payload.length }).put(payload).bytes;
}

function putChunkHeader(fields: FieldWriter, header: Omit<ChunkHeader, "kind">): FieldWriter {
  return fields
    .u32(STRUCTURED_REPLY_MAGIC)
    .u16(header.done ? ChunkFlag.DONE : 0)
    .u16(header.type)
    .u32(header.cookie.high)
    .u32(header.cookie.low)
    .u32(header.lengthBytes);
}

/** How many bytes the header that begins with these four has. Throws NbdProtocolError when it begins no reply. */
export function replyHeaderBytes(start: Uint8Array): number {
  const fields = new FieldReader(start.subarray(0, 4), "reply");
  const magic = fields.u32("magic");
  if (magic === SIMPLE_REPLY_MAGIC) return SIMPLE_REPLY_BYTES;
  return magic === STRUCTURED_REPLY_MAGIC ? CHUNK_HEADER_BYTES : fields.fail("wrong magic");
}

/** Decodes a header of either kind. The length of a chunk is what the server claims: the caller bounds it. */
export function decodeReplyHeader(bytes: Uint8Array): SimpleReply | ChunkHeader {
  const fields = new FieldReader(bytes, "reply");
  const headerBytes = replyHeaderBytes(bytes);
  if (bytes.length !== headerBytes) fields.fail(`header of ${bytes.length} bytes instead of ${headerBytes}`);
  fields.u32("magic");
  if (headerBytes === SIMPLE_REPLY_BYTES) {
    const error = fields.u32("error");
    return { kind: "simple", error, cookie: { high: fields.u32("cookie"), low: fields.u32("cookie") } };
  }
  const flags = fields.u16("flags");
  const type = fields.u16("type");
  const cookie = { high: fields.u32("cookie"), low: fields.u32("cookie") };
  return { kind: "chunk", done: (flags & ChunkFlag.DONE) !== 0, type, cookie, lengthBytes: fields.u32("length") };
}
