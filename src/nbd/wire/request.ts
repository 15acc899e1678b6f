// A request of the transmission phase: 28 bytes; a WRITE is followed by its data.

import { REQUEST_MAGIC } from "./constants.ts";
import { FieldReader, FieldWriter } from "./fields.ts";

export const REQUEST_BYTES = 28;

/** What a client marks a request with, to know its reply by: 64 bits, which mean nothing to the server. */
export interface Cookie {
  readonly high: number;
  readonly low: number;
}

export interface Request {
  /** CommandFlag. */
  readonly flags: number;
  /** One of Command, or one we have never heard of. */
  readonly command: number;
  readonly cookie: Cookie;
  /** Above 2^53 not exact, and past the end of anything. */
  readonly offsetBytes: number;
  readonly lengthBytes: number;
}

/** In memory of its own, or at the beginning of `into`, which is given back. */
export function encodeRequest(request: Request, into: number | Uint8Array = REQUEST_BYTES): Uint8Array {
  return new FieldWriter(into)
    .u32(REQUEST_MAGIC)
    .u16(request.flags)
    .u16(request.command)
    .u32(request.cookie.high)
    .u32(request.cookie.low)
    .u64(request.offsetBytes)
    .u32(request.lengthBytes).bytes;
}

/** Only the magic is judged: whether the export can do it is the server's to answer. */
export function decodeRequest(bytes: Uint8Array): Request {
  const fields = new FieldReader(bytes, "request");
  if (fields.u32("magic") !== REQUEST_MAGIC) fields.fail("wrong magic");
  const request = {
    flags: fields.u16("flags"),
    command: fields.u16("command"),
    cookie: { high: fields.u32("cookie"), low: fields.u32("cookie") },
    offsetBytes: fields.u32("offset") * 0x1_0000_0000 + fields.u32("offset"),
    lengthBytes: fields.u32("length"),
  };
  fields.end();
  return request;
}
