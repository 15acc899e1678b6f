// Node header, feature flags and short texts: what is written comes back, and nothing else is believed (I12).

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FORMAT_VERSION, KNOWN_FEATURES, mountability } from "../../src/format/features.ts";
import { FormatError } from "../../src/format/format-error.ts";
import {
  decodeNodeHeader,
  encodeNodeHeader,
  NODE_HEADER_BYTES,
  NODE_HEADER_OFFSETS,
  type NodeHeader,
  type NodeRange,
} from "../../src/format/node-header.ts";

const GIB = 2 ** 30;
const uuid = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => {
  bytes[0] = (bytes[0] as number) | 1;
  return bytes;
});
const label = fc
  .string({ unit: "grapheme", maxLength: 20 })
  .filter((text) => Buffer.byteLength(text) <= 64 && !/[\u0000-\u001f\u007f]/.test(text) && !text.startsWith("\ufeff"));

const header: fc.Arbitrary<NodeHeader> = fc
  .record({
    volumeUuid: uuid,
    label,
    sizes: fc.array(
      fc.record({ copyUuid: uuid, nodeUuid: uuid, chunks: fc.integer({ min: 1, max: 1000 }), index: fc.nat(7) }),
      {
        minLength: 1,
        maxLength: 8,
      },
    ),
  })
  .map(({ volumeUuid, label, sizes }) => {
    let startKib = 64;
    const ranges: NodeRange[] = sizes.map(({ copyUuid, nodeUuid, chunks, index }) => {
      const range = {
        copyUuid,
        nodeUuid,
        copyIndex: index,
        nodePosition: 0,
        nodeCount: 1,
        startKib,
        sizeKib: chunks * 64,
        copyStartKib: 0,
      };
      startKib += range.sizeKib;
      return range;
    });
    return { formatVersion: FORMAT_VERSION, features: KNOWN_FEATURES, volumeUuid, label, ranges };
  });

const plain: NodeHeader = {
  formatVersion: FORMAT_VERSION,
  features: KNOWN_FEATURES,
  volumeUuid: new Uint8Array(16).fill(1),
  label: "demo",
  ranges: [
    {
      copyUuid: new Uint8Array(16).fill(2),
      nodeUuid: new Uint8Array(16).fill(3),
      copyIndex: 0,
      nodePosition: 0,
      nodeCount: 1,
      startKib: 64,
      sizeKib: 64,
      copyStartKib: 0,
    },
  ],
};
const withRange = (change: Partial<NodeRange>): NodeHeader => ({
  ...plain,
  ranges: [{ ...(plain.ranges[0] as NodeRange), ...change }],
});

describe("node header", () => {
  it("round trip at both places", () => {
    fc.assert(
      fc.property(header, fc.constantFrom(...NODE_HEADER_OFFSETS), (value, at) => {
        expect(decodeNodeHeader(encodeNodeHeader(value, at), at, "a.img", GIB)).toEqual(value);
      }),
    );
  });

  it("does not verify at another place, nor with any bit changed (I12)", () => {
    const bytes = encodeNodeHeader(plain, 0);
    expect(() => decodeNodeHeader(bytes, 32768, "a.img", GIB)).toThrow(/check code does not match/);
    fc.assert(
      fc.property(fc.nat(NODE_HEADER_BYTES - 1), fc.nat(7), (at, bit) => {
        const damaged = bytes.slice();
        damaged[at] = (damaged[at] as number) ^ (1 << bit);
        expect(() => decodeNodeHeader(damaged, 0, "a.img", GIB)).toThrow(FormatError);
      }),
    );
  });

  it("arbitrary bytes give a FormatError that names the place, nothing else (I12)", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 8, maxLength: NODE_HEADER_BYTES }), (bytes) => {
        expect(() => decodeNodeHeader(bytes, 0, "a.img", GIB)).toThrow(/^a\.img: node header at byte 0/);
      }),
    );
  });

  it("says so when the device got shorter", () => {
    const bytes = encodeNodeHeader(withRange({ sizeKib: 1024 }), 0);
    expect(() => decodeNodeHeader(bytes, 0, "a.img", 1024 * 1024)).toThrow(/truncated/);
  });

  it.each<[string, Partial<NodeRange>]>([
    ["an odd start", { startKib: 65 }],
    ["an odd size", { sizeKib: 63 }],
    ["no size", { sizeKib: 0 }],
    ["the header area", { startKib: 0 }],
    ["a copy index past 7", { copyIndex: 8 }],
    ["a position past the row", { nodePosition: 1 }],
    ["a first node that is not at the start", { copyStartKib: 64 }],
    ["an empty row", { nodeCount: 0 }],
    ["a size past 2^41", { sizeKib: 2 ** 41 + 64 }],
  ])("refuses %s", (_what, change) => {
    expect(() => encodeNodeHeader(withRange(change), 0)).toThrow(FormatError);
  });

  it("refuses ranges that overlap, labels that do not fit or would upset a terminal", () => {
    const range = plain.ranges[0] as NodeRange;
    expect(() => encodeNodeHeader({ ...plain, ranges: [range, range] }, 0)).toThrow(/overlap/);
    expect(() => encodeNodeHeader({ ...plain, label: "ä".repeat(33) }, 0)).toThrow(/at most 64/);
    expect(() => encodeNodeHeader({ ...plain, label: "\u001b[2J" }, 0)).toThrow(/control/);
  });

  it("of another version only the seal is judged", () => {
    const bytes = encodeNodeHeader({ ...plain, formatVersion: 9 }, 0);
    expect(decodeNodeHeader(bytes, 0, "a.img", GIB).formatVersion).toBe(9);
  });
});

describe("features", () => {
  it("decides by the class of the unknown bit, and names it", () => {
    expect(mountability(1, KNOWN_FEATURES)).toEqual({ kind: "read-write" });
    expect(mountability(1, { compat: 0xffff_ffff, roCompat: 0, incompat: 0 }).kind).toBe("read-write");
    expect(mountability(1, { compat: 0, roCompat: 0x8000_0000, incompat: 0 })).toMatchObject({
      kind: "read-only",
      reason: expect.stringContaining("bit 31") as string,
    });
    expect(mountability(1, { compat: 0, roCompat: 2, incompat: 6 })).toMatchObject({
      kind: "refuse",
      reason: expect.stringContaining("bit 1, bit 2") as string,
    });
    expect(mountability(2, KNOWN_FEATURES)).toMatchObject({
      kind: "refuse",
      reason: expect.stringContaining("version 2") as string,
    });
  });
});
