// Options: what a client asks for in negotiation. Header, and the data of each option that has any.

import { OPTION_MAGIC } from "./constants.ts";
import { encodeText, FieldReader, FieldWriter, wholeText } from "./fields.ts";

export const OPTION_HEADER_BYTES = 16;

export interface OptionHeader {
  readonly option: number;
  readonly lengthBytes: number;
}

/** An option with its data, ready to be sent. */
export function encodeOption(option: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  return new FieldWriter(OPTION_HEADER_BYTES + data.length)
    .u32(OPTION_MAGIC[0])
    .u32(OPTION_MAGIC[1])
    .u32(option)
    .u32(data.length)
    .put(data).bytes;
}

/** The length is what the client claims: the caller bounds it before it reads the data. */
export function decodeOptionHeader(bytes: Uint8Array): OptionHeader {
  const fields = new FieldReader(bytes, "option");
  if (fields.u32("magic") !== OPTION_MAGIC[0] || fields.u32("magic") !== OPTION_MAGIC[1]) fields.fail("wrong magic");
  const header = { option: fields.u32("option"), lengthBytes: fields.u32("length") };
  fields.end();
  return header;
}

/** Data of EXPORT_NAME: the name and nothing else. */
export function encodeExportName(name: string): Uint8Array {
  return encodeText(name, "export name");
}

export function decodeExportName(data: Uint8Array): string {
  return wholeText(data, "export name", "option EXPORT_NAME");
}

/** Data of INFO and GO. */
export interface ExportQuery {
  readonly exportName: string;
  /** Info types asked for; a server may send others as well. */
  readonly infoTypes: readonly number[];
}

export function encodeExportQuery(query: ExportQuery): Uint8Array {
  const name = encodeText(query.exportName, "export name");
  const fields = new FieldWriter(4 + name.length + 2 + 2 * query.infoTypes.length).u32(name.length).put(name);
  fields.u16(query.infoTypes.length);
  for (const type of query.infoTypes) fields.u16(type);
  return fields.bytes;
}

export function decodeExportQuery(data: Uint8Array): ExportQuery {
  const fields = new FieldReader(data, "option INFO or GO");
  const exportName = fields.text(fields.u32("length of the export name"), "export name");
  const count = fields.u16("number of info types");
  if (fields.restBytes !== 2 * count) fields.fail(`${fields.restBytes} bytes for ${count} info types`);
  return { exportName, infoTypes: Array.from({ length: count }, () => fields.u16("info type")) };
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export interface MetaContextQuery {
  readonly exportName: string;
  readonly queries: readonly string[];
}

export function encodeMetaContextQuery(query: MetaContextQuery): Uint8Array {
  const name = encodeText(query.exportName, "export name");
  const queries = query.queries.map((text) => encodeText(text, "meta context"));
  const queriesBytes = queries.reduce((sum, bytes) => sum + 4 + bytes.length, 0);
  const fields = new FieldWriter(4 + name.length + 4 + queriesBytes).u32(name.length).put(name).u32(queries.length);
  for (const bytes of queries) fields.u32(bytes.length).put(bytes);
  return fields.bytes;
}

export function decodeMetaContextQuery(data: Uint8Array): MetaContextQuery {
  const fields = new FieldReader(data, "option LIST or SET_META_CONTEXT");
  const exportName = fields.text(fields.u32("length of the export name"), "export name");
  const count = fields.u32("number of queries");
  if (count * 4 > fields.restBytes) fields.fail(`${fields.restBytes} bytes for ${count} queries`);
  const queries: string[] = [];
  for (let i = 0; i < count; i++) queries.push(fields.text(fields.u32("length of a query"), "query"));
  fields.end();
  return { exportName, queries };
}
