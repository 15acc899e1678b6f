// Several connections to one export: made where the server says that a flush on one covers what was answered on any, and only
// there; one that is cut costs nothing that was answered; one that can't be made costs nothing at all.

import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it, onTestFailed } from "vitest";
import type { BlockDevice } from "../../src/device/device.ts";
import type { NodeEvent } from "../../src/nbd/client/events.ts";
import type { RemotePolicy } from "../../src/nbd/client/policy.ts";
import { Command, Option, OptionReply, TransmissionFlag } from "../../src/nbd/wire/constants.ts";
import { encodeOptionReply } from "../../src/nbd/wire/option-reply.ts";
import { deviceContract } from "../contract/device.ts";
import {
  type ForeignServer,
  imageIn,
  startExport,
  startNbdkit,
  startNbdServer,
  startQemu,
  temporaryFolder,
} from "./foreign-servers.ts";
import { deviceBehind, kindsOf, openObserved } from "./remote-devices.ts";
import { ALL_FLAGS, type Act, type Outgoing, ScriptedPeer } from "./scripted-peer.ts";
import { block, BLOCK_BYTES, expectResult, readBlock, workload } from "./workload.ts";

const MIB = 1024 * 1024;
const COUNT = 4;

let events: NodeEvent[];
beforeEach(() => {
  events = [];
});

function open(target: string, policy: Partial<RemotePolicy> = {}): Promise<BlockDevice> {
  return openObserved(events, target, { connections: COUNT, ...policy });
}

const connectionsOf = (device: BlockDevice): number | undefined => device.report?.()?.connection?.connections;
const kinds = (): string[] => kindsOf(events);
const widened = (): NodeEvent | undefined => events.find(({ kind }) => kind === "widened");

describe("several connections to servers people have", () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let server: ForeignServer | undefined;
  beforeEach(() => {
    folder = temporaryFolder();
  });
  afterEach(async () => {
    await server?.stop();
    folder.dispose();
  });

  for (const [name, start] of [
    ["our own export", (path: string) => startExport(path, imageIn(path, 5 * MIB))],
    ["nbdkit", (path: string) => startNbdkit(path, ["file", imageIn(path, 5 * MIB)])],
  ] as const) {
    deviceContract(`remote node of ${name}, by ${COUNT} connections`, async () => {
      const opened = await deviceBehind(start, open);
      await expect.poll(() => connectionsOf(opened.device)).toBe(COUNT);
      return opened;
    });
  }

  it.each([
    [
      "nbdkit told not to",
      (path: string) =>
        startNbdkit(path, ["--filter=multi-conn", "file", imageIn(path, MIB), "multi-conn-mode=disable"]),
    ],
    ["qemu-nbd for one client", (path: string) => startQemu(path, imageIn(path, MIB))],
  ] as const)("are not made with one that does not offer that: %s", async (_, start) => {
    server = await start(folder.path);
    const device = await open(server.target);
    await workload(device);
    expect(kinds()).toEqual(["connected"]);
  });

  it.each([
    [
      "nbdkit with a limit",
      (path: string) => startNbdkit(path, ["--filter=limit", "file", imageIn(path, MIB), "limit=2"]),
      2,
    ],
    ["nbd-server for one connection", (path: string) => startNbdServer(path, imageIn(path, MIB), ["flush = true"]), 1],
  ] as const)("are as many as it lets in: %s", async (_, start, count) => {
    server = await start(folder.path);
    const device = await open(server.target, { timeoutMs: 2000 });
    await device.write(0, [block(1)]);
    await device.flush();
    await expect.poll(widened, { timeout: 5000 }).toMatchObject({ connections: count, wanted: COUNT });
    await workload(device);
    expect(kinds()).toEqual(["connected", "widened"]);
  });

  it("are made by one key, and all of them leave in order: the next one is let in at once", async () => {
    const keys = `${folder.path}/keys`;
    writeFileSync(keys, `alice:${"5a".repeat(32)}\n`, { mode: 0o600 });
    server = await startExport(folder.path, imageIn(folder.path, MIB), { words: ["--psk-file", keys] });
    const target = `${server.target.replace("nbd+unix://", "nbds+unix://alice@")}&tls-psk-file=${keys}`;
    const device = await open(target);
    await expect.poll(() => connectionsOf(device)).toBe(COUNT);
    await workload(device);
    // Closed before it has all of them.
    await (await open(target)).close();
    await (await open(target)).close();
  });

  it.each([
    ["our own export", (path: string) => startExport(path, imageIn(path, 4 * MIB)), "vol"],
    ["nbdkit", (path: string) => startNbdkit(path, ["file", imageIn(path, 4 * MIB)]), ""],
  ] as const)("are made anew when one of them is cut at work: %s", async (_, start, name) => {
    onTestFailed(() => console.error(JSON.stringify(events)));
    server = await start(folder.path);
    const behind = server.target.split("socket=")[1] ?? "";
    const ways: Socket[] = [];
    const between = createServer((socket) => {
      const onward = connect(behind);
      for (const [from, to] of [
        [socket, onward],
        [onward, socket],
      ] as const) {
        from.on("error", () => undefined).on("close", () => to.destroy());
        from.pipe(to);
      }
      ways.push(socket);
    }).listen(`${folder.path}/between`);
    const reconnects = (): number => device?.report?.()?.connection?.reconnects ?? 0;
    let device: BlockDevice | undefined;
    let work: Promise<void>[] = [];
    let stop = false;
    try {
      await once(between, "listening");
      const opened = await open(`nbd+unix:///${name}?socket=${folder.path}/between`, { timeoutMs: 20_000 });
      device = opened;
      let written = 0;
      work = Array.from({ length: 8 }, async (_, place) => {
        for (let i = 0; !stop; i++, written++) {
          await opened.write((place * 8 + (i % 8)) * 65_536, [block(i % 250)]);
          if (i % 8 === 7) await opened.flush();
          expect((await readBlock(opened, (place * 8 + (i % 8)) * 65_536))[0]).toBe(i % 250);
        }
      });
      for (const which of [1, 0, 3]) {
        await expect.poll(() => connectionsOf(opened)).toBe(COUNT);
        const before = { written, reconnects: reconnects() };
        await expect.poll(() => written).toBeGreaterThan(before.written + 100);
        // One that is in use: on a slow host an attempt may have come to nothing, and have left its way here.
        const inUse = ways.filter(({ destroyed }) => !destroyed);
        expect(inUse.length).toBeGreaterThan(which);
        inUse[which]?.destroy();
        await expect.poll(reconnects).toBeGreaterThan(before.reconnects);
      }
      await expect.poll(() => connectionsOf(opened)).toBe(COUNT);
      stop = true;
      await Promise.all(work);
      expect(kinds().filter((kind) => kind === "gave-up")).toEqual([]);
    } finally {
      stop = true;
      await Promise.allSettled(work);
      await device?.close();
      between.close();
    }
  });

  it("are made anew after the server was killed, with all that was answered", async () => {
    const image = imageIn(folder.path, 4 * MIB);
    server = await startExport(folder.path, image);
    const device = await open(server.target, { timeoutMs: 20_000 });
    await expect.poll(() => connectionsOf(device)).toBe(COUNT);
    const written = Promise.all(Array.from({ length: 64 }, (_, i) => device.write(i * 65_536, [block(i + 1)])));
    await server.stop();
    server = await startExport(folder.path, image);
    await written;
    await expect.poll(() => connectionsOf(device)).toBe(COUNT);
    for (let i = 0; i < 64; i++) expect((await readBlock(device, i * 65_536))[0]).toBe(i + 1);
    await device.close();
    expect(kinds()).toEqual(["connected", "widened", "lost", "reconnected", "widened"]);
  });
});

describe("several connections to a server that does as it is told", () => {
  let folder: ReturnType<typeof temporaryFolder>;
  let peer: ScriptedPeer;
  beforeEach(async () => {
    folder = temporaryFolder();
    peer = await newPeer();
  });
  afterEach(async () => {
    await peer.close();
    folder.dispose();
  });

  async function newPeer(flags = ALL_FLAGS | TransmissionFlag.CAN_MULTI_CONN): Promise<ScriptedPeer> {
    const made = new ScriptedPeer({ path: `${folder.path}/peer`, sizeBytes: MIB, structured: true, flags });
    await made.listen();
    return made;
  }

  it("share the requests, and one that waits holds up none that go by the others", async () => {
    const device = await open(peer.target, { connections: 2 });
    await expect.poll(() => connectionsOf(device)).toBe(2);
    const busy = new Set<number>();
    let release: () => void = () => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    peer.script = ({ connection, request }): Act => {
      busy.add(connection);
      return request?.offsetBytes === 0 ? held : "send";
    };
    const first = device.write(0, [block(1)]);
    for (let i = 1; i < 10; i++) await device.write(i * BLOCK_BYTES, [block(i)]);
    await Promise.all(Array.from({ length: 10 }, (_, i) => device.write((i + 1) * BLOCK_BYTES, [block(i)])));
    release();
    await first;
    expect([...busy]).toEqual([1, 2]);
    await device.close();
    await expect.poll(() => peer.requests.filter(({ command }) => command === Command.DISC).length).toBe(2);
  });

  it("are not made where it does not offer that", async () => {
    await peer.close();
    peer = await newPeer(ALL_FLAGS);
    await workload(await open(peer.target));
    expectResult(peer);
    expect(peer.connections).toBe(1);
    expect(kinds()).toEqual(["connected"]);
  });

  it.each([["alone"], ["with all others, and what was not flushed is lost"]])(
    "one of them cut at any message, %s: nothing is lost that was answered",
    async (how) => {
      const opened = async (): Promise<BlockDevice> => {
        events = [];
        // What is cut before the export is open is for the caller to try again.
        const device = await open(peer.target).catch(() => open(peer.target));
        await expect.poll(widened, { interval: 1 }).toBeDefined();
        return device;
      };
      await workload(await opened());
      const all = peer.messages;
      for (let at = 0; at < all; at++) {
        await peer.close();
        peer = await newPeer();
        const cutting = peer;
        peer.script = ({ number }): Act => {
          if (number !== at) return "send";
          if (how !== "alone") setImmediate(() => cutting.cut(true));
          return "cut";
        };
        await workload(await opened());
        expectResult(peer);
      }
    },
  );

  it.each([
    ["is refused", (): Act => encodeOptionReply(Option.GO, OptionReply.ERR_POLICY)],
    ["is hung up on", (): Act => "cut"],
    ["is never answered", (): Act => "drop"],
  ] as const)("a further one that %s harms nobody", async (_, act) => {
    const isGo = ({ request, bytes }: Outgoing): boolean =>
      request === undefined && bytes.length > 12 && Buffer.from(bytes).readUInt32BE(8) === Option.GO;
    peer.script = (message): Act => (message.connection > 1 && isGo(message) ? act() : "send");
    const device = await open(peer.target, { timeoutMs: 1000 });
    await device.write(20 * BLOCK_BYTES, [block(1)]);
    await expect.poll(widened, { timeout: 5000 }).toMatchObject({ connections: 1, wanted: COUNT });
    await workload(device);
    expectResult(peer);
    expect(kinds()).toEqual(["connected", "widened"]);
  });

  it("that do not last are not made again and again", async () => {
    peer.script = ({ connection, request }): Act =>
      request?.command === Command.WRITE && connection % 2 === 0 ? "cut" : "send";
    const device = await open(peer.target, { connections: 2 });
    const before = async (): Promise<number> => {
      await Promise.all([1, 2, 3, 4].map((i) => device.write(i * BLOCK_BYTES, [block(i)])));
      return events.filter(({ kind }) => kind === "lost").length;
    };
    await expect.poll(before, { timeout: 10_000 }).toBe(3);
    for (let i = 0; i < 10; i++) await before();
    expect(await before()).toBe(3);
    expect(connectionsOf(device)).toBe(1);
    await device.close();
  });

  it("a further one is not taken before the server has answered by the first: it may have been started anew (I1)", async () => {
    let letIn: () => void = () => undefined;
    const delayed = new Promise<void>((resolve) => (letIn = resolve));
    let isMute = false;
    peer.script = ({ connection, request }): Act => {
      if (connection === 2 && request === undefined) return delayed;
      return connection === 1 && isMute ? "drop" : "send";
    };
    const device = await open(peer.target, { connections: 2, timeoutMs: 20_000 });
    await device.write(BLOCK_BYTES, [block(1)]);
    // Its machine failed, and nobody tells us by the first connection.
    peer.forget();
    isMute = true;
    letIn();
    await expect.poll(() => peer.requests.filter(({ command }) => command === Command.READ).length).toBeGreaterThan(3);
    const read = readBlock(device, 2 * BLOCK_BYTES);
    const flushed = device.flush();
    let isFlushed = false;
    void flushed.then(() => (isFlushed = true));
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(isFlushed).toBe(false);
    peer.cut(false);
    await Promise.all([read, flushed]);
    expect(peer.content(true)[BLOCK_BYTES]).toBe(1);
    await device.close();
  });
});
