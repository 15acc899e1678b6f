// The payloads of INFO replies: what a server tells of an export before, or when, it is opened.

import { isPowerOfTwo } from "../../base/integers.ts";
import { Info } from "./constants.ts";
import { encodeText, FieldReader, FieldWriter } from "./fields.ts";

/** Sizes of requests a server wants. */
export interface BlockSizes {
  /** Every offset and length is a multiple of it; a power of two, at most 64 KiB. */
  readonly minimumBytes: number;
  readonly preferredBytes: number;
  /** No READ or WRITE is longer. */
  readonly maximumBytes: number;
}

export type ExportInfo =
  | { readonly type: typeof Info.EXPORT; readonly sizeBytes: number; readonly flags: number }
  | { readonly type: typeof Info.NAME | typeof Info.DESCRIPTION; readonly text: string }
  | ({ readonly type: typeof Info.BLOCK_SIZE } & BlockSizes)
  /** One that a client has to ignore. */
  | { readonly type: "unknown"; readonly number: number };

export function encodeInfo(info: Exclude<ExportInfo, { type: "unknown" }>): Uint8Array {
  switch (info.type) {
    case Info.EXPORT:
      return new FieldWriter(12).u16(info.type).u64(info.sizeBytes).u16(info.flags).bytes;
    case Info.NAME:
    case Info.DESCRIPTION: {
      const text = encodeText(info.text, "text");
      return new FieldWriter(2 + text.length).u16(info.type).put(text).bytes;
    }
    case Info.BLOCK_SIZE:
      return new FieldWriter(14).u16(info.type).u32(info.minimumBytes).u32(info.preferredBytes).u32(info.maximumBytes)
        .bytes;
  }
}

export function decodeInfo(payload: Uint8Array): ExportInfo {
  const fields = new FieldReader(payload, "info on the export");
  const type = fields.u16("type");
  switch (type) {
    case Info.EXPORT: {
      const info = { type, sizeBytes: fields.u64("size"), flags: fields.u16("flags") };
      fields.end();
      return info;
    }
    case Info.NAME:
    case Info.DESCRIPTION:
      return { type, text: fields.text(fields.restBytes, "text") };
    case Info.BLOCK_SIZE: {
      const sizes = {
        minimumBytes: fields.u32("minimum block size"),
        preferredBytes: fields.u32("preferred block size"),
        maximumBytes: fields.u32("maximum block size"),
      };
      fields.end();
      checkSizes(sizes, fields);
      return { type, ...sizes };
    }
    default:
      return { type: "unknown", number: type };
  }
}

function checkSizes({ minimumBytes, preferredBytes, maximumBytes }: BlockSizes, fields: FieldReader): void {
  if (!isPowerOfTwo(minimumBytes) || minimumBytes > 65_536) fields.fail(`minimum block size of ${minimumBytes} bytes`);
  if (!isPowerOfTwo(preferredBytes) || preferredBytes < Math.max(512, minimumBytes))
    fields.fail(`preferred block size of ${preferredBytes} bytes`);
  // The largest number stands for "no bound".
  if (maximumBytes !== 0xffff_ffff && (maximumBytes < minimumBytes || maximumBytes % minimumBytes !== 0))
    fields.fail(`maximum block size of ${maximumBytes} bytes`);
}
