// Negotiation with the server: every option, what is refused and how, and no word in plaintext where TLS is asked for.

import { describe, expect, it } from "vitest";
import { AllowList } from "../../../src/nbd/server/allow-list.ts";
import { Catalogue } from "../../../src/nbd/server/catalogue.ts";
import { Command, Info, Option, OptionReply, TransmissionFlag } from "../../../src/nbd/wire/constants.ts";
import { NbdClosedError } from "../../../src/nbd/wire/errors.ts";
import { decodeInfo } from "../../../src/nbd/wire/info.ts";
import { encodeExportName, encodeOption, encodeMetaContextQuery } from "../../../src/nbd/wire/option.ts";
import { decodeExportNameReply, decodeListedExport, decodeMetaContext } from "../../../src/nbd/wire/option-reply.ts";
import { parsePskKeys } from "../../../src/nbd/server/psk-file.ts";
import { ServerScene, SIZE_BYTES } from "./server-scene.ts";

describe("negotiation", () => {
  it("lists exports, tells about one, and opens it", async () => {
    const scene = new ServerScene();
    const client = await scene.client();
    const listed = await client.option(Option.LIST);
    expect(listed.payloads.map(decodeListedExport)).toEqual([{ name: "x", details: "" }]);
    const told = await client.tryGo("x", Option.INFO);
    expect(told.payloads.map(decodeInfo)).toMatchObject([
      { type: Info.EXPORT, sizeBytes: SIZE_BYTES },
      { type: Info.BLOCK_SIZE, minimumBytes: 1, maximumBytes: 32 * 1024 * 1024 },
    ]);
    expect((await client.tryGo("")).type).toBe(OptionReply.ACK);
  });

  it("opens an export by the old option, too", async () => {
    const scene = new ServerScene();
    const client = await scene.client();
    client.sink.send(encodeOption(Option.EXPORT_NAME, encodeExportName("x")));
    const size = decodeExportNameReply(await client.source.take(10, "reply"));
    expect(size.sizeBytes).toBe(SIZE_BYTES);
    const other = await scene.client();
    other.sink.send(encodeOption(Option.EXPORT_NAME, encodeExportName("y")));
    await expect(other.source.take(1, "reply")).rejects.toBeInstanceOf(NbdClosedError);
  });

  it.each([
    ["an unknown export", Option.GO, Uint8Array.of(0, 0, 0, 1, 0x79, 0, 0), OptionReply.ERR_UNKNOWN],
    ["an unknown option", 99, new Uint8Array(3), OptionReply.ERR_UNSUP],
    ["extended headers", Option.EXTENDED_HEADERS, new Uint8Array(0), OptionReply.ERR_UNSUP],
    ["TLS that is not to be had", Option.STARTTLS, new Uint8Array(0), OptionReply.ERR_POLICY],
    ["a query that is cut short", Option.INFO, Uint8Array.of(0, 0, 0, 9, 0x78), OptionReply.ERR_INVALID],
    ["data that does not belong there", Option.LIST, Uint8Array.of(1), OptionReply.ERR_INVALID],
    ["too much data", Option.INFO, new Uint8Array(100_000), OptionReply.ERR_TOO_BIG],
    ["contexts before structured replies", Option.SET_META_CONTEXT, context("x", []), OptionReply.ERR_INVALID],
  ])("%s is refused, and the client may go on", async (_, option, data, type) => {
    const scene = new ServerScene();
    const client = await scene.client();
    expect((await client.option(option, data)).type).toBe(type);
    expect((await client.tryGo()).type).toBe(OptionReply.ACK);
  });

  it("selects the contexts it knows, for one export, until others are selected", async () => {
    const scene = new ServerScene();
    const client = await scene.client();
    await client.option(Option.STRUCTURED_REPLY);
    const listed = await client.option(Option.LIST_META_CONTEXT, context("x", []));
    expect(listed.payloads.map(decodeMetaContext)).toEqual([{ id: 0, name: "base:allocation" }]);
    const owner = "h2ts:owner=0123456789abcdef/0";
    const selected = await client.select([owner, "qemu:dirty-bitmap:b", "base:allocation"]);
    expect(selected.payloads.map(decodeMetaContext)).toEqual([
      { id: 0, name: "base:allocation" },
      { id: expect.any(Number) as number, name: owner },
    ]);
    expect((await client.select(["h2ts:owner=nobody"])).type).toBe(OptionReply.ERR_INVALID);
    expect((await client.option(Option.SET_META_CONTEXT, context("y", []))).type).toBe(OptionReply.ERR_UNKNOWN);
    // What was selected is gone: this is no owner, who would have been offered several connections.
    expect((await client.go()) & TransmissionFlag.CAN_MULTI_CONN).toBe(0);
  });

  it("shows a visitor only what it may use", async () => {
    const scene = new ServerScene();
    const catalogue = new Catalogue([scene.served], new AllowList(["alice=x"], ["x"]));
    const closed = new ServerScene({ catalogue });
    const client = await closed.client();
    expect((await client.option(Option.LIST)).payloads).toEqual([]);
    expect((await client.tryGo()).type).toBe(OptionReply.ERR_UNKNOWN);
  });

  it("ends when the client says so", async () => {
    const scene = new ServerScene();
    const client = await scene.client();
    expect((await client.option(Option.ABORT)).type).toBe(OptionReply.ACK);
    await expect(client.source.take(1, "more")).rejects.toBeInstanceOf(NbdClosedError);
    client.stream.end();
    await scene.ended();
  });
});

describe("with TLS asked for", () => {
  const tls = { psk: parsePskKeys(`alice:${"ab".repeat(32)}`, "keys") };

  it("nothing else is answered in plaintext", async () => {
    const scene = new ServerScene({ tls });
    const client = await scene.client();
    for (const option of [Option.LIST, Option.INFO, Option.GO, Option.STRUCTURED_REPLY, Option.SET_META_CONTEXT, 99])
      expect(await client.option(option)).toMatchObject({ type: OptionReply.ERR_TLS_REQD, payloads: [] });
    client.sink.send(encodeOption(Option.EXPORT_NAME, encodeExportName("x")));
    await expect(client.source.take(1, "reply")).rejects.toBeInstanceOf(NbdClosedError);
    await scene.ended();
    expect(scene.device.calls.read).toBe(0);
  });

  it("and plaintext allowed, both are served; what was agreed on in plaintext ends with it", async () => {
    const scene = new ServerScene({ tls, plaintextAllowed: true });
    const plain = await scene.opened();
    expect((await plain.ask(Command.READ, 0, 4)).error).toBe(0);
    plain.leave();
    const secured = await scene.client();
    expect((await secured.option(Option.STRUCTURED_REPLY)).type).toBe(OptionReply.ACK);
    expect((await secured.option(Option.STARTTLS)).type).toBe(OptionReply.ACK);
    secured.sink.send(encodeOption(Option.LIST));
    await secured.source.skip(1_000_000, "whatever").catch(() => undefined);
    await scene.ended();
    expect(scene.lines.at(-1)).toContain("TLS handshake");
  });

  it("plaintext sent along with STARTTLS, for the time after it, ends the connection", async () => {
    const scene = new ServerScene({ tls });
    const client = await scene.client();
    client.sink.send(encodeOption(Option.STARTTLS), encodeOption(Option.LIST));
    // Whether or not the reply to STARTTLS still gets through.
    await expect(client.source.take(21, "more")).rejects.toBeInstanceOf(NbdClosedError);
    await scene.ended();
    expect(scene.lines.at(-1)).toContain("16 bytes of plaintext behind it");
  });

  it("plaintext instead of TLS ends the connection", async () => {
    const scene = new ServerScene({ tls });
    const client = await scene.client();
    expect((await client.option(Option.STARTTLS)).type).toBe(OptionReply.ACK);
    client.sink.send(encodeOption(Option.LIST));
    await client.source.skip(1_000_000, "whatever").catch(() => undefined);
    await scene.ended();
    expect(scene.lines.at(-1)).toContain("TLS handshake");
  });
});

describe("a file of keys", () => {
  it("is read as psktool writes it, and its errors show nothing of it", () => {
    const key = "00112233445566778899aabbccddeeff";
    expect([...parsePskKeys(`alice:${key}\nbob@host:${key}\n\n`, "k").keys()]).toEqual(["alice", "bob@host"]);
    for (const text of [
      `alice ${key}`,
      `alice:${key}0`,
      `alice:${key}zz`,
      `alice:0011`,
      `:${key}`,
      "",
      `a:${key}\na:${key}`,
    ]) {
      const failure = (() => {
        try {
          parsePskKeys(text, "k");
          return "";
        } catch (error) {
          return (error as Error).message;
        }
      })();
      expect(failure).toMatch(/^k: /);
      expect(failure).not.toContain("0011");
      expect(failure).not.toContain("alice");
    }
  });
});

describe("the allow-list", () => {
  const visitor = (address: string | undefined, identity?: string) => ({ number: 1, address, identity });

  it("lets in by address, network and identity, for all exports or one", () => {
    const open = new AllowList([], ["x", "y"]);
    expect(open.allows(visitor("192.0.2.1"), "x")).toBe(true);
    const byAddress = new AllowList(["192.0.2.0/24", "2001:db8::1"], ["x"]);
    expect(byAddress.allows(visitor("192.0.2.77"), "x")).toBe(true);
    expect(byAddress.allows(visitor("2001:db8::1"), "x")).toBe(true);
    expect(byAddress.allows(visitor("198.51.100.1"), "x")).toBe(false);
    const both = new AllowList(["192.0.2.0/24", "alice"], ["x"]);
    expect(both.allows(visitor("192.0.2.1", "alice"), "x")).toBe(true);
    expect(both.allows(visitor("192.0.2.1", "bob"), "x")).toBe(false);
    expect(both.allows(visitor("192.0.2.1"), "x")).toBe(false);
    expect(both.allows(visitor("198.51.100.1", "alice"), "x")).toBe(false);
    const perExport = new AllowList(["alice=x", "bob=y"], ["x", "y", "z"]);
    expect(perExport.allows(visitor(undefined, "alice"), "x")).toBe(true);
    expect(perExport.allows(visitor(undefined, "alice"), "y")).toBe(false);
    expect(perExport.allows(visitor(undefined, "alice"), "z")).toBe(false);
  });

  it.each(["", "=x", "alice=nothing", "192.0.2.0/33", "192.0.2.0/24/1"])("refuses the rule %j", (rule) => {
    expect(() => new AllowList([rule], ["x"])).toThrow(/--allow/);
  });
});

function context(exportName: string, queries: string[]): Uint8Array {
  return encodeMetaContextQuery({ exportName, queries });
}
