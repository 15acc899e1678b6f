// The contract suite on every device there is. The loop device is left out only where the system has none.

import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { BlockDevice } from "../../src/device/device.ts";
import { Gate } from "../../src/device/gate.ts";
import { GatheringDevice } from "../../src/device/gathering.ts";
import { openNode } from "../../src/device/open.ts";
import { Range, SharedDevice } from "../../src/device/range.ts";
import { Row } from "../../src/device/row.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { type DeviceUnderTest, deviceContract } from "../contract/device.ts";

const MIB = 1024 * 1024;

function temporaryImage(sizeBytes: number): { path: string; dispose: () => void } {
  const folder = mkdtempSync(join(tmpdir(), "h2ts-device-"));
  const path = join(folder, "a.img");
  writeFileSync(path, "");
  truncateSync(path, sizeBytes);
  return { path, dispose: () => rmSync(folder, { recursive: true, force: true }) };
}

deviceContract("image file", async (): Promise<DeviceUnderTest> => {
  const { path, dispose } = temporaryImage(4 * MIB + 512);
  return { device: await openNode(path, { writable: true }), dispose };
});

deviceContract("image file with its requests gathered", async () => {
  const { path, dispose } = temporaryImage(4 * MIB + 512);
  return { device: new GatheringDevice(await openNode(path, { writable: true })), dispose };
});

deviceContract("range of an image file", async () => {
  const { path, dispose } = temporaryImage(12 * MIB);
  const shared = new SharedDevice(await openNode(path, { writable: true }));
  return { device: new Range(shared, 65536, 5 * MIB), dispose };
});

deviceContract("row of ranges", () => {
  const nodes = [128 * 1024, 65536, 2 * MIB, 3 * MIB].map((sizeBytes, i) => {
    const shared = new SharedDevice(new SimulatedDevice(`node ${i}`, sizeBytes + 65536));
    return new Range(shared, 65536, sizeBytes);
  });
  return Promise.resolve({ device: new Row(nodes), dispose: () => undefined });
});

deviceContract("row of image files", async () => {
  const images = [128 * 1024, 65536, 2 * MIB, 3 * MIB].map(temporaryImage);
  const nodes = await Promise.all(images.map(({ path }) => openNode(path, { writable: true })));
  return { device: new Row(nodes), dispose: () => images.forEach(({ dispose }) => dispose()) };
});

describe("a row of image files", () => {
  it("has no more calls under way than its places, whatever they are, and those are its nodes' together (I9)", async () => {
    const images = Array.from({ length: 3 }, () => temporaryImage(MIB));
    const nodes = await Promise.all(images.map(({ path }) => openNode(path, { writable: true })));
    const row = new Gate(1);
    for (const node of nodes) node.shareThreads(row);
    const calls: readonly (readonly [string, (node: BlockDevice) => Promise<unknown>])[] = [
      ["read", (node) => node.read(0, [new Uint8Array(512)])],
      ["write", (node) => node.write(0, [new Uint8Array(512)])],
      ["flush", (node) => node.flush()],
      ["discard", (node) => node.discard(0, 65536)],
      ["prepare", async (node) => node.prepare?.(0, 65536)],
      ["zero", async (node) => node.zero?.(0, 65536, true)],
      ["map", async (node) => node.extents?.(0, 65536, 1)],
      ["close", (node) => node.close()],
    ];
    for (const [name, call] of calls) {
      let leave = (): void => undefined;
      const held = row.run(() => new Promise<void>((resolve) => (leave = resolve)));
      let ended = 0;
      const made = nodes.map((node) => call(node).then(() => ended++));
      await sleep(20);
      expect({ name, ended }).toEqual({ name, ended: 0 });
      leave();
      await Promise.all([held, ...made]);
    }
    images.forEach(({ dispose }) => dispose());
  });
});

deviceContract("simulated device", () => {
  const device = new SimulatedDevice("simulated", 4 * MIB, { disk: new SimulatedDisk() });
  return Promise.resolve({ device, dispose: () => undefined });
});

if (existsSync("/dev/loop-control") && process.getuid?.() === 0) {
  const attach = (...options: string[]): { loop: string; dispose: () => void } => {
    const { path, dispose } = temporaryImage(5 * MIB);
    const loop = execFileSync("losetup", ["--find", "--show", ...options, path], { encoding: "utf8" }).trim();
    return {
      loop,
      dispose: () => {
        execFileSync("losetup", ["--detach", loop]);
        dispose();
      },
    };
  };

  deviceContract("loop device", async () => {
    const { loop, dispose } = attach();
    return { device: await openNode(loop, { writable: true }), dispose };
  });

  describe("block device", () => {
    it("knows its size and is closed to a second writer (I11)", async () => {
      const { loop, dispose } = attach();
      try {
        const first = await openNode(loop, { writable: true });
        expect(first.sizeBytes).toBe(5 * MIB);
        await expect(openNode(loop, { writable: true })).rejects.toThrow(/already in use/);
        await expect(openNode(loop, { writable: false })).rejects.toThrow(/already in use/);
        await first.close();
        await (await openNode(loop, { writable: true })).close();
      } finally {
        dispose();
      }
    });

    it("that takes no writes is refused to a writer at once, and serves a reader", async () => {
      const { loop, dispose } = attach("--read-only");
      try {
        await expect(openNode(loop, { writable: true })).rejects.toMatchObject({
          operation: "open",
          code: "EROFS",
          message: `${loop}: is on a read-only filesystem or medium`,
        });
        await (await openNode(loop, { writable: false })).close();
      } finally {
        dispose();
      }
    });
  });
}
