// One way to declare an on-media structure: a frozen table of fields. Accessors take their offsets from it and
// docs/format.md is generated from it, so the code and the document can't disagree. Fields lie in the order given with
// no gap; a table whose fields do not add up to the stated size does not load.

import { assert } from "../base/assert.ts";
import { isZero } from "../base/uuid.ts";

/** Little-endian integers, raw bytes (identifiers, checks, text, zero-padded), nested structures, or reserved zeros. */
export type FieldType =
  | "u8"
  | "u16"
  | "u32"
  | "u48"
  | "u64"
  | "i64"
  | "bytes"
  | "uuid"
  | "text"
  | "reserved"
  | Structure;

export interface Field {
  readonly name: string;
  readonly type: FieldType;
  readonly offsetBytes: number;
  /** Size of one element. */
  readonly elementBytes: number;
  readonly count: number;
  readonly meaning: string;
}

export interface Structure {
  readonly name: string;
  readonly sizeBytes: number;
  readonly meaning: string;
  readonly fields: readonly Field[];
  /** Those of them that must be zero. */
  readonly reserved: readonly Field[];
}

export interface FieldSpec {
  readonly name: string;
  readonly type: FieldType;
  readonly meaning: string;
  /** Bytes of one element; needed for bytes, text and reserved only. */
  readonly sizeBytes?: number;
  readonly count?: number;
}

const SCALAR_BYTES: Record<string, number> = { u8: 1, u16: 2, u32: 4, u48: 6, u64: 8, i64: 8, uuid: 16 };

/** Lays the fields out one after another and freezes the table. */
export function declareStructure(
  name: string,
  sizeBytes: number,
  meaning: string,
  specs: readonly FieldSpec[],
): Structure {
  let offsetBytes = 0;
  const fields = specs.map((spec) => {
    const elementBytes =
      typeof spec.type === "object" ? spec.type.sizeBytes : (SCALAR_BYTES[spec.type] ?? spec.sizeBytes ?? 0);
    const count = spec.count ?? 1;
    assert(elementBytes > 0 && count > 0, `${name}.${spec.name} has no size`);
    const field: Field = { name: spec.name, type: spec.type, offsetBytes, elementBytes, count, meaning: spec.meaning };
    offsetBytes += elementBytes * count;
    return Object.freeze(field);
  });
  assert(offsetBytes === sizeBytes, `${name}: fields take ${offsetBytes} bytes, the structure is ${sizeBytes}`);
  assert(new Set(fields.map((f) => f.name)).size === fields.length, `${name}: two fields share a name`);
  const reserved = fields.filter(({ type }) => type === "reserved");
  return Object.freeze({ name, sizeBytes, meaning, fields: Object.freeze(fields), reserved: Object.freeze(reserved) });
}

/** Byte offset of a field; hot accessors read it once, when their module loads. */
export function offsetOf(structure: Structure, fieldName: string): number {
  const field = structure.fields.find((f) => f.name === fieldName);
  assert(field !== undefined, `${structure.name} has no field ${fieldName}`);
  return field.offsetBytes;
}

/** Name of the first reserved field that is not all zero, undefined when all are (I12). */
export function firstDirtyReserved(structure: Structure, bytes: Uint8Array, at = 0): string | undefined {
  for (const field of structure.reserved) {
    const from = at + field.offsetBytes;
    if (!isZero(bytes.subarray(from, from + field.elementBytes * field.count))) return field.name;
  }
  return undefined;
}
