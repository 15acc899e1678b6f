// Servers that are slow, stop, refuse or end: nbdkit's filters in front of a disk in memory.

import { once } from "node:events";
import { rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { BlockDevice } from "../../src/device/device.ts";
import type { NodeEvent } from "../../src/nbd/client/events.ts";
import { type ForeignServer, imageIn, startNbdkit, temporaryFolder } from "./foreign-servers.ts";
import { kindsOf, openObserved } from "./remote-devices.ts";

const MIB = 1024 * 1024;

let folder: ReturnType<typeof temporaryFolder>;
let server: ForeignServer;
let events: NodeEvent[];
beforeEach(() => {
  folder = temporaryFolder();
  events = [];
});
afterEach(async () => {
  await server.stop();
  folder.dispose();
});

async function deviceOf(words: readonly string[], timeoutMs = 3000): Promise<BlockDevice> {
  server = await startNbdkit(folder.path, words);
  return openObserved(events, server.target, { timeoutMs });
}

const block = (fill: number): Uint8Array => new Uint8Array(65536).fill(fill);

async function fill(device: BlockDevice, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, i) => device.write(i * 65536, [block(i + 1)])));
  await device.flush();
}

async function verify(device: BlockDevice, count: number): Promise<void> {
  const found = Array.from({ length: count }, () => new Uint8Array(65536));
  await Promise.all(found.map((bytes, i) => device.read(i * 65536, [bytes])));
  found.forEach((bytes, i) => expect(bytes.every((byte) => byte === i + 1)).toBe(true));
}

describe("a server", () => {
  it("that delays everything is asked for much at once", async () => {
    const device = await deviceOf(["--filter=delay", "memory", "4M", "rdelay=200ms", "wdelay=200ms"]);
    const started = performance.now();
    await fill(device, 16);
    await verify(device, 16);
    expect(performance.now() - started).toBeLessThan(16 * 200);
    await device.close();
  });

  it("that lets little through is waited for", async () => {
    const device = await deviceOf(["--filter=rate", "memory", "4M", "rate=40M"]);
    await fill(device, 16);
    await verify(device, 16);
    await device.close();
    expect(kindsOf(events)).toEqual(["connected"]);
  });

  it("that refuses single requests has its word passed on, and serves the others", async () => {
    const trigger = join(folder.path, "trigger");
    const device = await deviceOf([
      ...["--filter=error", "memory", "4M", "error-pread-rate=100%", "error-pread=EIO", `error-pread-file=${trigger}`],
    ]);
    await fill(device, 4);
    writeFileSync(trigger, "");
    await expect(device.read(0, [block(0)])).rejects.toMatchObject({
      name: "DeviceError",
      code: "EIO",
      operation: "read",
    });
    rmSync(trigger);
    await verify(device, 4);
    await device.close();
  });

  it("that pauses is waited for; one that pauses for too long is given up", async () => {
    const control = join(folder.path, "control");
    const device = await deviceOf(["--filter=pause", "memory", "4M", `pause-control=${control}`], 1500);
    const say = async (letter: string): Promise<void> => {
      const socket = connect(control);
      socket.write(letter);
      await once(socket, "data");
      socket.destroy();
    };
    await say("p");
    const filled = fill(device, 4);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await say("r");
    await filled;
    await verify(device, 4);
    await say("p");
    await expect(device.write(0, [block(9)])).rejects.toThrow(/no answer within 1500 ms/);
    expect(kindsOf(events)).toEqual(["connected", "gave-up"]);
    await device.close();
  });

  it("that ends and is started again is gone on with where it was", async () => {
    const words = ["file", imageIn(folder.path, 4 * MIB)];
    const device = await deviceOf(words);
    await fill(device, 8);
    await server.stop();
    const filled = fill(device, 16);
    server = await startNbdkit(folder.path, words);
    await filled;
    await verify(device, 16);
    await device.close();
    expect(kindsOf(events)).toEqual(["connected", "lost", "reconnected"]);
  });

  it("that ends when its last client leaves does so when we have, and not before", async () => {
    const device = await deviceOf(["--filter=exitlast", "memory", "4M"]);
    const ended = once(server.process, "exit");
    await fill(device, 4);
    await verify(device, 4);
    expect(server.process.exitCode).toBeNull();
    await device.close();
    expect((await ended)[0]).toBe(0);
    expect(kindsOf(events)).toEqual(["connected"]);
  });
});
