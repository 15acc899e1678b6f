// Option replies: header, the payloads that are not an info (see info.ts), and the old reply to EXPORT_NAME.

import { OPTION_REPLY_ERROR_BIT, OPTION_REPLY_MAGIC } from "./constants.ts";
import { encodeText, FieldReader, FieldWriter, wholeText } from "./fields.ts";

export const OPTION_REPLY_HEADER_BYTES = 20;

export interface OptionReplyHeader {
  readonly option: number;
  /** One of OptionReply, or one we have never heard of. */
  readonly type: number;
  readonly lengthBytes: number;
}

/** A reply to `option` with its payload, ready to be sent. */
export function encodeOptionReply(option: number, type: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  return new FieldWriter(OPTION_REPLY_HEADER_BYTES + payload.length)
    .u32(OPTION_REPLY_MAGIC[0])
    .u32(OPTION_REPLY_MAGIC[1])
    .u32(option)
    .u32(type)
    .u32(payload.length)
    .put(payload).bytes;
}

/** The length is what the server claims: the caller bounds it before it reads the payload. */
export function decodeOptionReplyHeader(bytes: Uint8Array): OptionReplyHeader {
  const fields = new FieldReader(bytes, "option reply");
  if (fields.u32("magic") !== OPTION_REPLY_MAGIC[0] || fields.u32("magic") !== OPTION_REPLY_MAGIC[1])
    fields.fail("wrong magic");
  const header = { option: fields.u32("option"), type: fields.u32("type"), lengthBytes: fields.u32("length") };
  fields.end();
  return header;
}

/** The server said no, in whichever way. */
export function isRefusal(type: number): boolean {
  return type >= OPTION_REPLY_ERROR_BIT;
}

/** Payload of every refusal: a message for people, which may be empty. */
export function encodeRefusal(message: string): Uint8Array {
  return encodeText(message, "message");
}

export function decodeRefusal(payload: Uint8Array): string {
  return wholeText(payload, "message", "refusal of an option");
}

/** Payload of a SERVER reply: one export of the list. What follows the name is for people. */
export interface ListedExport {
  readonly name: string;
  readonly details: string;
}

export function encodeListedExport(listed: ListedExport): Uint8Array {
  const name = encodeText(listed.name, "export name");
  const details = encodeText(listed.details, "details");
  return new FieldWriter(4 + name.length + details.length).u32(name.length).put(name).put(details).bytes;
}

export function decodeListedExport(payload: Uint8Array): ListedExport {
  const fields = new FieldReader(payload, "entry of the list of exports");
  const name = fields.text(fields.u32("length of the name"), "name");
  return { name, details: fields.text(fields.restBytes, "details") };
}

/** Payload of a META_CONTEXT reply. */
export interface MetaContext {
  readonly id: number;
  readonly name: string;
}

export function encodeMetaContext(context: MetaContext): Uint8Array {
  const name = encodeText(context.name, "meta context");
  return new FieldWriter(4 + name.length).u32(context.id).put(name).bytes;
}

export function decodeMetaContext(payload: Uint8Array): MetaContext {
  const fields = new FieldReader(payload, "meta context");
  return { id: fields.u32("id"), name: fields.text(fields.restBytes, "name") };
}

export interface ExportSize {
  readonly sizeBytes: number;
  /** TransmissionFlag. */
  readonly flags: number;
}

const SIZE_BYTES = 10;
const ZEROES_BYTES = 124;

/** Length of the reply to EXPORT_NAME, the one option that is answered without a header. */
function exportNameReplyBytes(noZeroes: boolean): number {
  return noZeroes ? SIZE_BYTES : SIZE_BYTES + ZEROES_BYTES;
}

export function encodeExportNameReply(size: ExportSize, noZeroes: boolean): Uint8Array {
  return new FieldWriter(exportNameReplyBytes(noZeroes)).u64(size.sizeBytes).u16(size.flags).bytes;
}

export function decodeExportNameReply(bytes: Uint8Array): ExportSize {
  const fields = new FieldReader(bytes, "reply to EXPORT_NAME");
  return { sizeBytes: fields.u64("size"), flags: fields.u16("flags") };
}
