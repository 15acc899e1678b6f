// Several addresses of one export: the best one that lives is used, another one when it fails, the better one when it returns;
// what is under way is never lost on the way, and an address that leads elsewhere is left alone.

import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SystemClock } from "../../src/base/clock.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { planLayout } from "../../src/copies/layout.ts";
import type { BlockDevice } from "../../src/device/device.ts";
import { encodeNodeHeader } from "../../src/format/node-header.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import type { NodeEvent } from "../../src/nbd/client/events.ts";
import { Routes } from "../../src/nbd/client/routes.ts";
import { answersFor } from "../../src/nbd/open.ts";
import { parseRemoteTarget } from "../../src/nbd/target.ts";
import { HandshakeFlag, Info, Option, OptionReply } from "../../src/nbd/wire/constants.ts";
import { encodeGreeting } from "../../src/nbd/wire/greeting.ts";
import { encodeInfo } from "../../src/nbd/wire/info.ts";
import { encodeOptionReply } from "../../src/nbd/wire/option-reply.ts";
import { freePort, temporaryFolder } from "./foreign-servers.ts";
import { openObserved } from "./remote-devices.ts";
import { type PeerRoute, ScriptedPeer } from "./scripted-peer.ts";

const SIZE_BYTES = 20 * 1024 * 1024;

let folder: ReturnType<typeof temporaryFolder>;
let peers: ScriptedPeer[];
let events: NodeEvent[];
beforeEach(() => {
  folder = temporaryFolder();
  peers = [];
  events = [];
});
afterEach(async () => {
  for (const peer of peers) await peer.close();
  folder.dispose();
});

async function peerOn(...ports: number[]): Promise<{ peer: ScriptedPeer; routes: PeerRoute[] }> {
  const routes = ports.map((port) => ({ port, delayMs: 0, mute: false }));
  const peer = new ScriptedPeer({ path: `${folder.path}/${peers.length}`, sizeBytes: SIZE_BYTES, routes });
  peers.push(peer);
  await peer.listen();
  return { peer, routes };
}

function open(ports: readonly number[], timeoutMs = 4000): Promise<BlockDevice> {
  return openObserved(events, `nbd://${ports.map((port) => `127.0.0.1:${port}`).join(",")}/x`, { timeoutMs });
}

const changes = (): string[] =>
  events.flatMap((event) => (event.kind === "route-changed" ? [event.to.replace("127.0.0.1:", "")] : []));
const connectedTo = (): string | undefined =>
  events.flatMap((event) => (event.kind === "connected" ? [event.address] : []))[0];

/** A node header of a new volume. */
function header(seed: number): Uint8Array {
  const random = new SeededRandom(seed);
  const layout = [{ name: "x", nodes: [{ name: "x", sizeBytes: SIZE_BYTES }], copies: 1 }];
  const [[found] = []] = planLayout(layout, { volumeUuid: randomUuid(random), label: "", random });
  if (found === undefined) throw new Error("no header");
  return encodeNodeHeader(found, 0);
}

describe("addresses of one export", () => {
  it("are used by latency, then by order", async () => {
    const ports = [await freePort(), await freePort(), await freePort()];
    const { routes } = await peerOn(...ports);
    (routes[0] as PeerRoute).delayMs = 40;
    const device = await open(ports);
    expect(connectedTo()).toBe(`127.0.0.1:${ports[1]}`);
    await device.close();
  });

  it("stand in for each other: one that is cut off without a word, then the better one again, with nothing lost", async () => {
    const ports = [await freePort(), await freePort()];
    const { peer, routes } = await peerOn(...ports);
    const [first] = routes as [PeerRoute, PeerRoute];
    const device = await open(ports);
    expect(connectedTo()).toBe(`127.0.0.1:${ports[0]}`);
    let stop = false;
    let written = 0;
    const work = (async () => {
      for (; !stop; written++) {
        await device.write((written % 100) * 4096, [new Uint8Array(4096).fill(written % 250)]);
        if (written % 10 === 0) await device.flush();
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    })();
    first.mute = true;
    await expect.poll(changes, { timeout: 10_000 }).toEqual([String(ports[1])]);
    first.mute = false;
    await expect.poll(changes, { timeout: 15_000 }).toEqual([String(ports[1]), String(ports[0])]);
    const before = written;
    await expect.poll(() => written).toBeGreaterThan(before + 5);
    stop = true;
    await work;
    await device.flush();
    for (let i = Math.max(0, written - 100); i < written; i++) {
      expect(peer.content(true)[(i % 100) * 4096]).toBe(i % 250);
    }
    expect(events.some(({ kind }) => kind === "gave-up")).toBe(false);
    await device.close();
  });

  it("of which one leads to another node: nothing is ever written there", async () => {
    const ports = [await freePort(), await freePort(), await freePort()];
    const { peer } = await peerOn(ports[1] as number, ports[2] as number);
    const head = header(1);
    peer.replaceContent(Buffer.concat([head, Buffer.alloc(SIZE_BYTES - head.length)]));
    const device = await open(ports);
    const { peer: stranger } = await peerOn(ports[0] as number);
    const other = header(2);
    stranger.replaceContent(Buffer.concat([other, Buffer.alloc(SIZE_BYTES - other.length)]));
    peer.cut(false);
    await device.write(1024 * 1024, [new Uint8Array(4096).fill(1)]);
    await device.flush();
    expect(peer.content(true)[1024 * 1024]).toBe(1);
    expect(
      stranger
        .content()
        .subarray(1024 * 1024)
        .some((byte) => byte !== 0),
    ).toBe(false);
    expect(changes().at(-1) ?? String(ports[1])).not.toBe(String(ports[0]));
    await device.close();
  });

  it("of which the first answers and does not let us in: it is not gone back to again and again", async () => {
    const ports = [await freePort(), await freePort()];
    const { peer: full } = await peerOn(ports[0] as number);
    const { peer } = await peerOn(ports[1] as number);
    full.script = ({ request, bytes }) => {
      const isGo = request === undefined && bytes.length > 12 && Buffer.from(bytes).readUInt32BE(8) === Option.GO;
      return isGo ? encodeOptionReply(Option.GO, OptionReply.ERR_POLICY) : "send";
    };
    const clock = new SimulatedClock();
    // Answers take no time.
    const pass = async (): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      await clock.advance(2000);
    };
    const target = parseRemoteTarget(`nbd://127.0.0.1:${ports[0]},127.0.0.1:${ports[1]}/x`);
    const routes = new Routes(target, { clock, lease: { kind: "reader" } });
    const better: string[] = [];
    const reaching = routes.reach(60_000);
    await pass();
    const { address, opened } = await reaching;
    routes.watch(address, (other) => void better.push(other));
    for (let looks = 0; looks < 4; looks++) await pass();
    expect({ address, better }).toEqual({ address: `127.0.0.1:${ports[1]}`, better: [] });
    expect(peer.connections).toBeGreaterThan(3);
    opened.destroy();
    routes.close();
  });

  it("are looked at without leaving a connection behind, whether their server hangs up or not", async () => {
    const sockets: Socket[] = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.push(socket.on("error", () => undefined).resume());
      socket.write(encodeGreeting(HandshakeFlag.FIXED_NEWSTYLE));
      const info = encodeInfo({ type: Info.EXPORT, sizeBytes: 4096, flags: 1 });
      for (let i = 0; i < 3; i++) {
        socket.write(encodeOptionReply(Option.INFO, OptionReply.INFO, info));
        socket.write(encodeOptionReply(Option.INFO, OptionReply.ACK));
      }
    }).listen(`${folder.path}/half-open`);
    const pipes = (): number => process.getActiveResourcesInfo().filter((kind) => kind === "PipeWrap").length;
    try {
      await once(server, "listening");
      // What other tests had open is closed by then.
      await new Promise((resolve) => setTimeout(resolve, 100));
      const before = pipes();
      expect(await answersFor(`nbd+unix:///x?socket=${folder.path}/half-open`, new SystemClock())).toBe(true);
      // The server's end is still open.
      await expect.poll(pipes).toBe(before + 1);
      expect(sockets).toHaveLength(1);
    } finally {
      for (const socket of sockets) socket.destroy();
      server.close();
    }
  });
});
