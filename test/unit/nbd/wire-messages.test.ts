// Every NBD message: what is encoded decodes to the same, its bytes are those the protocol's document gives, and whatever
// else comes is refused with a typed error (I12).

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import * as chunk from "../../../src/nbd/wire/chunk.ts";
import { ChunkType, Command, Info, Option, OptionReply } from "../../../src/nbd/wire/constants.ts";
import { NbdProtocolError } from "../../../src/nbd/wire/errors.ts";
import * as greeting from "../../../src/nbd/wire/greeting.ts";
import { decodeInfo, encodeInfo } from "../../../src/nbd/wire/info.ts";
import * as option from "../../../src/nbd/wire/option.ts";
import * as optionReply from "../../../src/nbd/wire/option-reply.ts";
import * as reply from "../../../src/nbd/wire/reply.ts";
import { decodeLeaseContext, encodeLeaseContext } from "../../../src/nbd/wire/lease-context.ts";
import { decodeRequest, encodeRequest } from "../../../src/nbd/wire/request.ts";
import { errorNameOf, wireErrorOf } from "../../../src/nbd/wire/wire-error.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffff_ffff);
const u64 = fc.maxSafeNat();
const text = fc.string({ unit: "grapheme", maxLength: 60 }).filter((value) => !value.includes("\0"));
const cookie = fc.record({ high: u32, low: u32 });
const powerOfTwo = (min: number, max: number) => fc.integer({ min, max }).map((exponent) => 2 ** exponent);

interface Message<T> {
  readonly name: string;
  readonly values: fc.Arbitrary<T>;
  readonly encode: (value: T) => Uint8Array;
  readonly decode: (bytes: Uint8Array) => T;
  /** A message cut short may be a shorter message of the same kind. */
  readonly openEnded?: boolean;
}

const message = <T>(value: Message<T>): Message<unknown> => value as Message<unknown>;

const MESSAGES = [
  message({
    name: "greeting",
    values: u16.map((flags) => flags | 1),
    encode: greeting.encodeGreeting,
    decode: greeting.decodeGreeting,
  }),
  message({
    name: "client flags",
    values: fc.constantFrom(1, 3),
    encode: greeting.encodeClientFlags,
    decode: greeting.decodeClientFlags,
  }),
  message({
    name: "option header",
    values: fc.record({ option: u32, lengthBytes: fc.constant(0) }),
    encode: (header) => option.encodeOption(header.option),
    decode: option.decodeOptionHeader,
  }),
  message({
    name: "EXPORT_NAME",
    values: text,
    encode: option.encodeExportName,
    decode: option.decodeExportName,
    openEnded: true,
  }),
  message({
    name: "INFO and GO",
    values: fc.record({ exportName: text, infoTypes: fc.array(u16, { maxLength: 20 }) }),
    encode: option.encodeExportQuery,
    decode: option.decodeExportQuery,
  }),
  message({
    name: "LIST and SET_META_CONTEXT",
    values: fc.record({ exportName: text, queries: fc.array(text, { maxLength: 5 }) }),
    encode: option.encodeMetaContextQuery,
    decode: option.decodeMetaContextQuery,
  }),
  message({
    name: "option reply header",
    values: fc.record({ option: u32, type: u32, lengthBytes: fc.constant(0) }),
    encode: ({ option: number, type }) => optionReply.encodeOptionReply(number, type),
    decode: optionReply.decodeOptionReplyHeader,
  }),
  message({
    name: "refusal",
    values: text,
    encode: optionReply.encodeRefusal,
    decode: optionReply.decodeRefusal,
    openEnded: true,
  }),
  message({
    name: "listed export",
    values: fc.record({ name: text, details: text }),
    encode: optionReply.encodeListedExport,
    decode: optionReply.decodeListedExport,
    openEnded: true,
  }),
  message({
    name: "meta context",
    values: fc.record({ id: u32, name: text }),
    encode: optionReply.encodeMetaContext,
    decode: optionReply.decodeMetaContext,
    openEnded: true,
  }),
  message({
    name: "reply to EXPORT_NAME",
    values: fc.record({ sizeBytes: u64, flags: u16 }),
    encode: (size) => optionReply.encodeExportNameReply(size, true),
    decode: optionReply.decodeExportNameReply,
  }),
  message({
    name: "info EXPORT",
    values: fc.record({ type: fc.constant(Info.EXPORT), sizeBytes: u64, flags: u16 }),
    encode: encodeInfo,
    decode: decodeInfo as never,
  }),
  message({
    name: "info DESCRIPTION",
    values: fc.record({ type: fc.constant(Info.DESCRIPTION), text }),
    encode: encodeInfo,
    decode: decodeInfo as never,
    openEnded: true,
  }),
  message({
    name: "info BLOCK_SIZE",
    values: fc.record({
      type: fc.constant(Info.BLOCK_SIZE),
      minimumBytes: powerOfTwo(0, 16),
      preferredBytes: powerOfTwo(16, 25),
      maximumBytes: powerOfTwo(20, 26),
    }),
    encode: encodeInfo,
    decode: decodeInfo as never,
  }),
  message({
    name: "request",
    values: fc.record({ flags: u16, command: u16, cookie, offsetBytes: u64, lengthBytes: u32 }),
    encode: encodeRequest,
    decode: decodeRequest,
  }),
  message({
    name: "simple reply",
    values: fc.record({ kind: fc.constant("simple" as const), error: u32, cookie }),
    encode: (value) => reply.encodeSimpleReply(value.error, value.cookie),
    decode: reply.decodeReplyHeader as never,
  }),
  message({
    name: "chunk header",
    values: fc.record({
      kind: fc.constant("chunk" as const),
      done: fc.boolean(),
      type: u16,
      cookie,
      lengthBytes: u32,
    }),
    encode: reply.encodeChunkHeader,
    decode: reply.decodeReplyHeader as never,
  }),
  message({ name: "data offset", values: u64, encode: chunk.encodeDataOffset, decode: chunk.decodeDataOffset }),
  message({
    name: "hole",
    values: fc.record({ offsetBytes: u64, lengthBytes: fc.integer({ min: 1, max: 0xffff_ffff }) }),
    encode: chunk.encodeHole,
    decode: chunk.decodeHole,
  }),
  message({
    name: "error with an offset",
    values: fc.record({ error: fc.integer({ min: 1, max: 0xffff }), message: text, offsetBytes: u64 }),
    encode: chunk.encodeChunkError,
    decode: ((bytes: Uint8Array) => chunk.decodeChunkError(bytes, true)) as never,
  }),
  message({
    name: "block status",
    values: fc.record({
      contextId: u32,
      extents: fc.array(fc.record({ lengthBytes: fc.integer({ min: 1, max: 0xffff_ffff }), flags: u32 }), {
        minLength: 1,
        maxLength: 9,
      }),
    }),
    encode: chunk.encodeBlockStatus,
    decode: chunk.decodeBlockStatus,
    openEnded: true,
  }),
];

describe("NBD messages", () => {
  it.each(MESSAGES)("$name: decodes to what was encoded", ({ values, encode, decode }) => {
    fc.assert(fc.property(values, (value) => void expect(decode(encode(value))).toEqual(value)));
  });

  it.each(MESSAGES)("$name: cut short it is refused, never misread", ({ values, encode, decode, openEnded }) => {
    fc.assert(
      fc.property(values, fc.nat(), (value, cut) => {
        const bytes = encode(value);
        if (bytes.length === 0) return;
        const outcome = outcomeOf(() => decode(bytes.subarray(0, cut % bytes.length)));
        if (openEnded !== true) expect(outcome).toBeInstanceOf(NbdProtocolError);
      }),
    );
  });

  it.each(MESSAGES)("$name: garbage gives a typed error or a value", ({ values, encode, decode }) => {
    fc.assert(
      fc.property(values, fc.uint8Array({ maxLength: 200 }), fc.nat(), (value, noise, at) => {
        outcomeOf(() => decode(noise));
        const bytes = encode(value).slice();
        bytes.set(noise.subarray(0, Math.max(0, bytes.length - (at % (bytes.length + 1)))), at % (bytes.length + 1));
        outcomeOf(() => decode(bytes));
      }),
    );
  });

  it("have the bytes the protocol's document gives them", () => {
    expect(hex(greeting.encodeGreeting(3))).toBe("4e42444d41474943" + "49484156454f5054" + "0003");
    expect(hex(option.encodeOption(Option.ABORT))).toBe("49484156454f5054" + "00000002" + "00000000");
    expect(hex(optionReply.encodeOptionReply(Option.LIST, OptionReply.ACK))).toBe(
      "0003e889045565a9" + "00000003" + "00000001" + "00000000",
    );
    const request = {
      flags: 1,
      command: Command.WRITE,
      cookie: { high: 0x01020304, low: 0x05060708 },
      offsetBytes: 2 ** 40 + 1,
      lengthBytes: 512,
    };
    expect(hex(encodeRequest(request))).toBe(
      "25609513" + "0001" + "0001" + "0102030405060708" + "0000010000000001" + "00000200",
    );
    expect(hex(reply.encodeSimpleReply(5, request.cookie))).toBe("67446698" + "00000005" + "0102030405060708");
    expect(hex(reply.encodeChunk(ChunkType.NONE, request.cookie, true, new Uint8Array(0)))).toBe(
      "668e33ef" + "0001" + "0000" + "0102030405060708" + "00000000",
    );
    expect(optionReply.encodeExportNameReply({ sizeBytes: 1, flags: 1 }, false)).toHaveLength(134);
  });

  it("refuse texts that are too long, not UTF-8, or have a zero in them", () => {
    expect(() => option.decodeExportName(new Uint8Array(4097).fill(0x61))).toThrow(/more than 4096/);
    expect(() => option.decodeExportName(Uint8Array.of(0x61, 0))).toThrow(/zero byte/);
    expect(() => option.decodeExportName(Uint8Array.of(0xc3))).toThrow(/not UTF-8/);
    expect(() => option.encodeExportName("x".repeat(5000))).toThrow(NbdProtocolError);
  });

  it("refuse sizes that no number holds and block sizes that make no sense", () => {
    const info = encodeInfo({ type: Info.EXPORT, sizeBytes: 1, flags: 0 });
    expect(() => decodeInfo(info.slice().fill(0xff, 2, 10))).toThrow(/2\^53/);
    const sizes = (minimumBytes: number, preferredBytes: number, maximumBytes: number) => () =>
      decodeInfo(encodeInfo({ type: Info.BLOCK_SIZE, minimumBytes, preferredBytes, maximumBytes }));
    expect(sizes(0, 4096, 65536)).toThrow(/minimum/);
    expect(sizes(131072, 131072, 262144)).toThrow(/minimum/);
    expect(sizes(512, 256, 65536)).toThrow(/preferred/);
    expect(sizes(4096, 4096, 5000)).toThrow(/maximum/);
    expect(sizes(1, 4096, 0xffff_ffff)).not.toThrow();
  });

  it("carry the errors of the system, the nearest of those NBD has", () => {
    for (const code of ["EIO", "EPERM", "ENOMEM", "EINVAL", "ENOSPC", "EOVERFLOW", "ENOTSUP", "ESHUTDOWN"])
      expect(errorNameOf(wireErrorOf(code))).toBe(code);
    expect(errorNameOf(wireErrorOf("EROFS"))).toBe("EPERM");
    expect(errorNameOf(wireErrorOf("EBADF"))).toBe("EIO");
    expect(errorNameOf(4711)).toBe("EINVAL");
  });
});

/** What a decoder gives or throws; anything thrown but NbdProtocolError fails the test. */
function outcomeOf(decode: () => unknown): unknown {
  try {
    return decode();
  } catch (error) {
    expect(error).toBeInstanceOf(NbdProtocolError);
    return error;
  }
}

describe("the lease's meta context", () => {
  it("says who owns a connection, or that it only reads", () => {
    for (const context of [{ kind: "owner", owner: "0123456789abcdef", slot: 15 }, { kind: "reader" }] as const)
      expect(decodeLeaseContext(encodeLeaseContext(context))).toEqual(context);
    expect(encodeLeaseContext({ kind: "owner", owner: "0123456789abcdef", slot: 3 })).toBe(
      "h2ts:owner=0123456789abcdef/3",
    );
  });

  it.each([
    "base:allocation",
    "h2ts:",
    "h2ts:owner=short/0",
    "h2ts:owner=0123456789abcdef",
    "h2ts:owner=0123456789abcdef/16",
    "h2ts:owner=0123456789abcde_/1",
    `h2ts:owner=${"x".repeat(65)}/1`,
  ])("is nothing else (I12): %s", (name) => expect(decodeLeaseContext(name)).toBeUndefined());
});
