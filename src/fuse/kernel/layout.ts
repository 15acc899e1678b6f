// Declares the protocol's structures as tables of fields in order; offsets and sizes follow from them.
// The kernel's structures have no hidden padding (it is always a named field), so plain addition is exact.

const WIDTH_BYTES = { u16: 2, u32: 4, u64: 8 } as const;

export type FieldType = keyof typeof WIDTH_BYTES;

/** Byte offset of each field, by name, and the size of the whole. */
export type Layout<Names extends string> = Readonly<Record<Names, number>> & { readonly sizeBytes: number };

/** Lays fields out one after another. A number instead of a type is that many bytes (nested structure, reserved space). */
export function layout<const Fields extends readonly (readonly [string, FieldType | number])[]>(
  fields: Fields,
): Layout<Fields[number][0]> {
  const offsets: Record<string, number> = {};
  let at = 0;
  for (const [name, type] of fields) {
    offsets[name] = at;
    at += typeof type === "number" ? type : WIDTH_BYTES[type];
  }
  return Object.freeze({ ...offsets, sizeBytes: at }) as Layout<Fields[number][0]>;
}
