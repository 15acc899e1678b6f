// Every declared structure: no gap, no overlap, exact size; what is written to a field is read back and nothing else
// changes. And docs/format.md says what the code does, of every structure there is.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { readI64, readU48, readU64, writeI64, writeU48, writeU64 } from "../../src/base/integers.ts";
import { declareStructure, firstDirtyReserved, type Field } from "../../src/format/structure.ts";
import { formatDocument, STRUCTURES } from "../../tools/format-document.ts";

const SOURCES = join(import.meta.dirname, "../../src");

const ACCESS: Record<
  string,
  { write: (v: DataView, at: number, n: number) => void; read: (v: DataView, at: number) => number; max: number }
> = {
  u8: { write: (v, at, n) => v.setUint8(at, n), read: (v, at) => v.getUint8(at), max: 0xff },
  u16: { write: (v, at, n) => v.setUint16(at, n, true), read: (v, at) => v.getUint16(at, true), max: 0xffff },
  u32: { write: (v, at, n) => v.setUint32(at, n, true), read: (v, at) => v.getUint32(at, true), max: 0xffff_ffff },
  u48: { write: writeU48, read: readU48, max: 2 ** 48 - 1 },
  u64: { write: writeU64, read: readU64, max: Number.MAX_SAFE_INTEGER },
  i64: { write: writeI64, read: readI64, max: Number.MAX_SAFE_INTEGER },
};

const isNumber = (field: Field): boolean => typeof field.type === "string" && field.type in ACCESS;

describe.each(STRUCTURES.map((structure) => [structure.name, structure] as const))("%s", (_, structure) => {
  it("has no gap, no overlap and its exact size", () => {
    let end = 0;
    for (const field of structure.fields) {
      expect(field.offsetBytes, field.name).toBe(end);
      expect(field.elementBytes * field.count, field.name).toBeGreaterThan(0);
      end += field.elementBytes * field.count;
    }
    expect(end).toBe(structure.sizeBytes);
  });

  it("says what every field means", () => {
    for (const field of structure.fields) expect(field.meaning.length, field.name).toBeGreaterThan(0);
  });

  it("brings every number back, and touches nothing beside it", () => {
    const numbers = structure.fields.filter(isNumber);
    if (numbers.length === 0) return;
    fc.assert(
      fc.property(fc.constantFrom(...numbers), fc.double({ min: 0, max: 1, noNaN: true }), (field, fraction) => {
        const access = ACCESS[field.type as string] as (typeof ACCESS)[string];
        const value = Math.floor(fraction * access.max);
        for (const filler of [0x00, 0xff]) {
          const bytes = new Uint8Array(structure.sizeBytes).fill(filler);
          const at = field.offsetBytes + (field.count - 1) * field.elementBytes;
          access.write(new DataView(bytes.buffer), at, value);
          expect(access.read(new DataView(bytes.buffer), at)).toBe(value);
          bytes.fill(filler, at, at + field.elementBytes);
          expect(bytes.every((byte) => byte === filler)).toBe(true);
        }
      }),
    );
  });

  it("finds every reserved byte that is not zero", () => {
    for (const field of structure.fields.filter((f) => f.type === "reserved")) {
      for (const at of [field.offsetBytes, field.offsetBytes + field.elementBytes * field.count - 1]) {
        const bytes = new Uint8Array(structure.sizeBytes);
        bytes[at] = 1;
        expect(firstDirtyReserved(structure, bytes)).toBe(field.name);
      }
    }
    expect(firstDirtyReserved(structure, new Uint8Array(structure.sizeBytes))).toBeUndefined();
  });
});

describe("declareStructure", () => {
  it("refuses a table that does not add up, and two fields of one name", () => {
    expect(() => declareStructure("x", 8, "m", [{ name: "a", type: "u32", meaning: "m" }])).toThrow(
      "fields take 4 bytes",
    );
    const twice = [
      { name: "a", type: "u32", meaning: "m" },
      { name: "a", type: "u32", meaning: "m" },
    ] as const;
    expect(() => declareStructure("x", 8, "m", twice)).toThrow("share a name");
  });
});

describe("docs/format.md", () => {
  it("is what npm run docs makes of the structures", () => {
    const committed = readFileSync(join(import.meta.dirname, "../../docs/format.md"), "utf8");
    expect(committed).toBe(formatDocument());
  });

  it("has a table for every structure, and for every one that a field of it is", () => {
    for (const { name, fields } of STRUCTURES) {
      expect(formatDocument()).toContain(`### ${name} (`);
      for (const { type } of fields)
        if (typeof type === "object") expect(formatDocument()).toContain(`### ${type.name} (`);
    }
  });

  it("has a table for every structure declared anywhere in the code", () => {
    const declared = readdirSync(SOURCES, { recursive: true, encoding: "utf8" })
      .filter((path) => path.endsWith(".ts"))
      .flatMap((path) => [
        ...readFileSync(join(SOURCES, path), "utf8").matchAll(/= declareStructure\(\s*(?:"([^"]*)")?/g),
      ])
      .map(([call, name]) => name ?? call);
    expect(declared.sort()).toEqual(STRUCTURES.map(({ name }) => name).sort());
  });
});
