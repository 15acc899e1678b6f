// Opening and locking of image files, and what the parts of a device promise beyond the contract.

import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BlockDevice, DeviceError } from "../../src/device/device.ts";
import { GatheringDevice } from "../../src/device/gathering.ts";
import { CALLS_IN_FLIGHT_MAX, Gate } from "../../src/device/gate.ts";
import { openNode } from "../../src/device/open.ts";
import { Range, SharedDevice } from "../../src/device/range.ts";
import { Row } from "../../src/device/row.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { extentsOf, zeroRange } from "../../src/device/sparse.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "h2ts-open-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function image(name: string, sizeBytes = 1024 * 1024): string {
  const path = join(folder, name);
  writeFileSync(path, "");
  truncateSync(path, sizeBytes);
  return path;
}

describe("openNode", () => {
  it("lets one writer or several readers in, by whatever path (I11)", async () => {
    const path = image("lock.img");
    const link = join(folder, "link.img");
    symlinkSync(path, link);
    const writer = await openNode(path, { writable: true });
    const refusal: unknown = await openNode(link, { writable: true }).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(DeviceError);
    expect(refusal).toMatchObject({ operation: "lock", code: "EBUSY" });
    expect((refusal as Error).message).toBe(`${link}: already in use (by a mount or another tool)`);
    await expect(openNode(path, { writable: false })).rejects.toThrow("already in use");
    await writer.close();
    const readers = [await openNode(path, { writable: false }), await openNode(link, { writable: false })];
    expect(readers[0]?.identity).toBe(readers[1]?.identity);
    await expect(openNode(path, { writable: true })).rejects.toThrow("already in use");
    await Promise.all(readers.map((reader) => reader.close()));
    await (await openNode(path, { writable: true })).close();
  });

  it("refuses what is no device in one clear line (I12)", async () => {
    const missing = join(folder, "missing.img");
    await expect(openNode(missing, { writable: true })).rejects.toThrow(`${missing}: no such file or device`);
    const directory = join(folder, "directory");
    mkdirSync(directory, { recursive: true });
    await expect(openNode(directory, { writable: true })).rejects.toThrow("is a directory");
    await expect(openNode(directory, { writable: false })).rejects.toThrow("neither a file nor a block device");
    await expect(openNode("/dev/null", { writable: true })).rejects.toThrow("neither a file nor a block device");
  });

  it("opened for reading only, writes nothing", async () => {
    const device = await openNode(image("readonly.img"), { writable: false });
    await expect(device.write(0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "EROFS" });
    await device.flush();
    await device.close();
  });

  it("gives discarded space back", async () => {
    const path = image("sparse.img", 8 * 1024 * 1024);
    const device = await openNode(path, { writable: true });
    await device.write(0, [new Uint8Array(4 * 1024 * 1024).fill(1)]);
    await device.flush();
    const before = statSync(path).blocks;
    await device.discard(65536, 3 * 1024 * 1024);
    await device.close();
    expect(statSync(path).blocks).toBeLessThan(before);
    expect(statSync(path).size).toBe(8 * 1024 * 1024);
  });

  it("reports a file that got shorter under it as an error of the read", async () => {
    const path = image("shrunk.img");
    const device = await openNode(path, { writable: true });
    truncateSync(path, 1000);
    await expect(device.read(500, [new Uint8Array(4096)])).rejects.toMatchObject({ operation: "read", code: "EIO" });
    await device.close();
  });
});

describe("Gate", () => {
  it("lets only so many calls run, in order, and goes on after a failure (I9)", async () => {
    const gate = new Gate();
    let running = 0;
    let most = 0;
    const order: number[] = [];
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) =>
        gate.run(async () => {
          most = Math.max(most, ++running);
          order.push(i);
          await new Promise((resolve) => setImmediate(resolve));
          running--;
          if (i % 3 === 0) throw new Error("refused");
        }),
      ),
    );
    expect(most).toBe(CALLS_IN_FLIGHT_MAX);
    expect(order).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(results.filter((result) => result.status === "rejected").length).toBe(7);
    await gate.idle();
  });
});

describe("Range and Row", () => {
  it("a device is closed with its last range", async () => {
    const device = new SimulatedDevice("d", 1024 * 1024);
    const shared = new SharedDevice(device);
    const [a, b] = [new Range(shared, 65536, 65536), new Range(shared, 131072, 65536)];
    await a.close();
    await b.write(0, [Uint8Array.of(5)]);
    await expect(a.read(0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "EBADF" });
    await b.close();
    await expect(device.read(0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "EBADF" });
  });

  it("a range neither reaches nor leaks over its neighbours", async () => {
    const device = new SimulatedDevice("d", 262144);
    const range = new Range(new SharedDevice(device), 65536, 65536);
    await range.write(0, [new Uint8Array(65536).fill(3)]);
    await expect(range.write(65535, [new Uint8Array(2)])).rejects.toMatchObject({ code: "EINVAL" });
    const around = [new Uint8Array(1), new Uint8Array(1)] as const;
    await device.read(65535, [around[0]]);
    await device.read(131072, [around[1]]);
    expect([around[0][0], around[1][0]]).toEqual([0, 0]);
    expect(() => new Range(new SharedDevice(device), 196608, 131072)).toThrow(DeviceError);
  });

  it("in a row, one failing node leaves the others readable and names itself", async () => {
    const [a, b] = [new SimulatedDevice("a", 65536), new SimulatedDevice("b", 65536)];
    const row = new Row([a, b]);
    b.fail({ operation: "write", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
    const refusal = row.write(60000, [new Uint8Array(10000).fill(1)]);
    await expect(refusal).rejects.toMatchObject({ device: "b", operation: "write" });
    await row.write(0, [new Uint8Array(100).fill(2)]);
    b.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    await expect(row.flush()).rejects.toMatchObject({ device: "b", operation: "flush" });
    expect(a.calls.flush).toBe(1);
  });
});

describe("a sparse image", () => {
  const KIB = 1024;
  const map = async (device: BlockDevice): Promise<string[]> =>
    (await extentsOf(device, 0, device.sizeBytes, 9)).map(
      ({ lengthBytes, isHole }) => `${isHole ? "hole" : "data"} ${lengthBytes / KIB}`,
    );

  it("knows its holes, and gets one where it is zeroed unless it is to keep the room", async () => {
    const path = image("sparse.img");
    const device = await openNode(path, { writable: true });
    expect(await map(device)).toEqual(["hole 1024"]);
    await device.write(256 * KIB, [new Uint8Array(256 * KIB).fill(7)]);
    await device.flush();
    expect(await map(device)).toEqual(["hole 256", "data 256", "hole 512"]);
    await zeroRange(device, 256 * KIB, 128 * KIB, false);
    expect(await map(device)).toEqual(["hole 384", "data 128", "hole 512"]);
    await zeroRange(device, 512 * KIB, 512 * KIB, true);
    await device.flush();
    expect(statSync(path).blocks * 512).toBeGreaterThanOrEqual(640 * KIB);
    await device.close();
  });

  it("is joined to others in a row, whose stretches end with its nodes", async () => {
    const nodes = await Promise.all(["left.img", "right.img"].map((name) => openNode(image(name), { writable: true })));
    const row = new Row([...nodes, new SimulatedDevice("no holes", 64 * KIB)]);
    await row.write(1000 * KIB, [new Uint8Array(64 * KIB).fill(7)]);
    const whole = await extentsOf(row, 960 * KIB, row.sizeBytes - 960 * KIB, 9);
    expect(whole.reduce((sum, { lengthBytes }) => sum + lengthBytes, 0)).toBe(row.sizeBytes - 960 * KIB);
    expect(whole.at(-1)).toEqual({ lengthBytes: 64 * KIB, isHole: false });
    expect(await extentsOf(row, 0, row.sizeBytes, 1)).toHaveLength(1);
    await zeroRange(row, 0, row.sizeBytes, false);
    const bytes = new Uint8Array(row.sizeBytes).fill(1);
    await row.read(0, [bytes]);
    expect(bytes.every((byte) => byte === 0)).toBe(true);
    await row.close();
  });
});

describe("gathering", () => {
  it("makes one call of neighbours that wait, of one kind and no longer than 1 MiB", async () => {
    const disk = new SimulatedDevice("disk", 8 * 1024 * 1024);
    const device = new GatheringDevice(disk);
    let letGo = (): void => undefined;
    const until = new Promise<void>((resolve) => (letGo = resolve));
    disk.fail({ operation: "read", nth: 1, effect: { kind: "late", until } });
    disk.fail({ operation: "read", nth: 2, effect: { kind: "late", until } });
    const busy = [device.read(0, [new Uint8Array(1)]), device.read(0, [new Uint8Array(1)])];
    const blocks = Array.from({ length: 32 }, (_, i) => new Uint8Array(65536).fill(i + 1));
    const writes = blocks.map((block, i) => device.write(i * 65536, [block]));
    letGo();
    await Promise.all([...busy, ...writes]);
    expect(disk.calls.write).toBe(2);
    const back = new Uint8Array(32 * 65536);
    await disk.read(0, [back]);
    expect(Buffer.from(back).equals(Buffer.concat(blocks))).toBe(true);
  });

  it("does each by itself when one of them fails", async () => {
    const disk = new SimulatedDevice("disk", 1024 * 1024);
    const device = new GatheringDevice(disk);
    disk.fail({ operation: "read", nth: 1, permanent: true, atByte: 70_000, effect: { kind: "error", code: "EIO" } });
    const reads = Array.from({ length: 8 }, (_, i) => device.read(i * 65536, [new Uint8Array(65536)]));
    const results = await Promise.allSettled(reads);
    expect(results.map(({ status }) => status === "fulfilled")).toEqual(results.map((_, i) => i !== 1));
  });
});
