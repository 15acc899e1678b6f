// Requests live until they are answered: whatever is cut, whenever, and even if the server loses what it had not flushed.

import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type BlockDevice, ContentLostError, DeviceError } from "../../src/device/device.ts";
import { type NodeEvent } from "../../src/nbd/client/events.ts";
import { type RemotePolicy, TIMEOUT_MS_DEFAULT } from "../../src/nbd/client/policy.ts";
import { ChunkType, Command, Option, OptionReply, TransmissionFlag } from "../../src/nbd/wire/constants.ts";
import { encodeOptionReply } from "../../src/nbd/wire/option-reply.ts";
import { encodeChunk } from "../../src/nbd/wire/reply.ts";
import { temporaryFolder } from "./foreign-servers.ts";
import { kindsOf, openObserved } from "./remote-devices.ts";
import { type Act, ScriptedPeer } from "./scripted-peer.ts";
import { block, BLOCK_BYTES, expectResult, readBlock, workload } from "./workload.ts";

const SIZE_BYTES = 1024 * 1024;

let folder: ReturnType<typeof temporaryFolder>;
let peer: ScriptedPeer;
let events: NodeEvent[];
beforeEach(async () => {
  folder = temporaryFolder();
  peer = await newPeer();
});
afterEach(async () => {
  await peer.close();
  folder.dispose();
});

async function newPeer(structured = true, flags?: number): Promise<ScriptedPeer> {
  const made = new ScriptedPeer({
    path: `${folder.path}/peer`,
    sizeBytes: SIZE_BYTES,
    structured,
    ...(flags !== undefined && { flags }),
  });
  await made.listen();
  return made;
}

function open(policy: Partial<RemotePolicy> = {}): Promise<BlockDevice> {
  events = [];
  return openObserved(events, peer.target, policy);
}

const kinds = (): string[] => kindsOf(events);

describe("cut at every message, with everything lost that was not flushed", () => {
  it.each([
    ["cut", true],
    ["cut", false],
    ["cut-in-the-middle", true],
    ["cut-in-the-middle", false],
  ] as const)("%s (structured replies: %s)", async (act, structured) => {
    await peer.close();
    peer = await newPeer(structured);
    await workload(await open());
    expectResult(peer);
    const all = peer.messages;
    expect(all).toBeGreaterThan(15);
    for (let at = 0; at < all; at++) {
      await peer.close();
      peer = await newPeer(structured);
      const cutting = peer;
      peer.script = ({ number }): Act => {
        if (number !== at) return "send";
        setImmediate(() => cutting.cut(true));
        return act;
      };
      // What is cut before the export is open is for the caller to try again.
      const device = await open().catch(() => open());
      await workload(device);
      expectResult(peer);
    }
  });
});

describe("a server that stalls", () => {
  it("does not hold up an overwrite that goes to another block, and neither another request (copy-on-write)", async () => {
    const device = await open();
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    peer.script = ({ request }): Act => (request?.offsetBytes === BLOCK_BYTES ? held : "send");
    let olderDone = false;
    const older = device.write(BLOCK_BYTES, [block(1)]).then(() => (olderDone = true));
    await device.write(2 * BLOCK_BYTES, [block(2)]);
    await device.flush();
    expect((await readBlock(device, 2 * BLOCK_BYTES))[0]).toBe(2);
    expect(olderDone).toBe(false);
    release();
    await older;
    await device.close();
  });

  it("is given up after the time a request has, with a typed error, and fails at once from then on", async () => {
    const device = await open({ timeoutMs: 300 });
    peer.script = ({ request }): Act => (request?.command === Command.WRITE ? "drop" : "send");
    const started = performance.now();
    const error: unknown = await device.write(0, [block(1)]).catch((reason: unknown) => reason);
    expect(performance.now() - started).toBeLessThan(TIMEOUT_MS_DEFAULT);
    expect(error).toBeInstanceOf(DeviceError);
    expect(error).toMatchObject({ device: device.name, operation: "write", code: "ENOTCONN" });
    expect(kinds()).toEqual(["connected", "gave-up"]);
    await expect(device.flush()).rejects.toThrow(/no answer within 300 ms/);
    await device.close();
  });
});

describe("a server that does not come back", () => {
  it("is given up after so many tries while something waits", async () => {
    const device = await open({ retryCount: 2, timeoutMs: 10_000 });
    await peer.close();
    await expect(device.write(0, [block(1)])).rejects.toThrow(/no connection after 2 tries/);
    expect(kinds()).toEqual(["connected", "lost", "gave-up"]);
    await device.close();
  });

  it("is waited for as long as nobody asks for anything", async () => {
    const timeoutMs = 1000;
    const device = await open({ retryCount: 2, timeoutMs });
    await peer.close();
    await expect.poll(() => kinds()).toEqual(["connected", "lost"]);
    await sleep(1.2 * timeoutMs);
    await peer.listen();
    await device.write(0, [block(1)]);
    expect(kinds()).toEqual(["connected", "lost", "reconnected"]);
    await device.close();
  });
});

describe("a server that comes back as somebody else", () => {
  it("with another size is not taken, nor given anything", async () => {
    const device = await open({ timeoutMs: 400 });
    await peer.close();
    peer = new ScriptedPeer({ path: `${folder.path}/peer`, sizeBytes: 2 * SIZE_BYTES });
    await peer.listen();
    await expect(device.write(0, [block(1)])).rejects.toThrow(/another one now/);
    expect(peer.requests).toEqual([]);
    await device.close();
  });

  it("without what it had said was flushed has lost its content", async () => {
    const device = await open();
    const before = Buffer.from(peer.content());
    await device.write(BLOCK_BYTES, [block(1)]);
    await device.flush();
    peer.replaceContent(before);
    peer.cut(false);
    const error: unknown = await device.write(2 * BLOCK_BYTES, [block(2)]).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ContentLostError);
    await device.close();
  });

  it("and refuses what it had taken has lost its content", async () => {
    const device = await open();
    await device.write(BLOCK_BYTES, [block(1)]);
    // An answer to a write that says ENOSPC.
    peer.script = ({ request, bytes }): Act => {
      if (request?.command !== Command.WRITE) return "send";
      const refused = Buffer.from(bytes);
      refused.writeUInt32BE(28, 4);
      return refused;
    };
    peer.cut(true);
    await expect(device.flush()).rejects.toBeInstanceOf(ContentLostError);
    await device.close();
  });
});

describe("a server that says it can tell where holes are", () => {
  it("and tells of nothing, has data there", async () => {
    const context = Buffer.concat([Buffer.from([0, 0, 0, 7]), Buffer.from("base:allocation")]);
    const ack = encodeOptionReply(Option.SET_META_CONTEXT, OptionReply.ACK);
    const selected = encodeOptionReply(Option.SET_META_CONTEXT, OptionReply.META_CONTEXT, context);
    peer.script = ({ request, bytes }): Act => {
      if (ack.every((byte, i) => byte === bytes[i])) return Buffer.concat([selected, ack]);
      if (request?.command !== Command.BLOCK_STATUS) return "send";
      return encodeChunk(ChunkType.NONE, request.cookie, true, new Uint8Array(0));
    };
    const device = await open();
    expect(await device.extents?.(0, SIZE_BYTES, 8)).toEqual([{ lengthBytes: SIZE_BYTES, isHole: false }]);
    expect(peer.requests.some(({ command }) => command === Command.BLOCK_STATUS)).toBe(true);
    await device.close();
  });
});

describe("writes that no flush covers", () => {
  it("are kept up to a budget, which forces a flush, and memory stays bounded", async () => {
    const device = await open({ keptBytesMax: 16 * BLOCK_BYTES });
    for (let i = 0; i < 100; i++) await device.write((i % 200) * BLOCK_BYTES, [block(i)]);
    const flushes = peer.requests.filter(({ command }) => command === Command.FLUSH).length;
    expect(flushes).toBeGreaterThanOrEqual(100 / 16 - 1);
    await device.close();
  });

  it("are not kept when each of them is durable by itself (FUA)", async () => {
    await peer.close();
    peer = await newPeer(true, TransmissionFlag.HAS_FLAGS | TransmissionFlag.SEND_FUA);
    await workload(await open());
    expectResult(peer);
    expect(peer.requests.some(({ command }) => command === Command.FLUSH)).toBe(false);
  });

  it("a flush that failed is never taken for good", async () => {
    const device = await open();
    await device.write(0, [block(1)]);
    let failed = false;
    peer.script = ({ request, bytes }): Act => {
      if (request?.command !== Command.FLUSH || failed) return "send";
      failed = true;
      const refused = Buffer.from(bytes);
      refused.writeUInt32BE(5, 4);
      return refused;
    };
    for (let i = 0; i < 2; i++) await expect(device.flush()).rejects.toBeInstanceOf(ContentLostError);
    await device.close();
  });

  it("land in the order of their overlaps, however often everything is lost", async () => {
    const action = fc.record({
      at: fc.nat(30),
      count: fc.integer({ min: 1, max: 4 }),
      then: fc.constantFrom("go on", "go on", "flush", "lose"),
    });
    let fill = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 12 }), async (actions) => {
        await peer.close();
        peer = await newPeer();
        const device = await open();
        const model = new Uint8Array(40);
        for (const { at, count, then } of actions) {
          fill = (fill % 250) + 1;
          await device.write(at * 1024, [new Uint8Array(count * 1024).fill(fill)]);
          model.fill(fill, at, at + count);
          if (then === "flush") await device.flush();
          if (then === "lose") peer.cut(true);
        }
        await device.flush();
        await device.close();
        expect([...model].map((_, i) => peer.content(true)[i * 1024])).toEqual([...model]);
      }),
      { numRuns: 40 },
    );
  });
});
