// The simulated device fails as told, and its disk gives exactly the states a power cut may leave (I4 rests on this).

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { PagedImage } from "../../src/device/paged-image.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";

const SIZE = 1024 * 1024;

async function byteAt(device: SimulatedDevice, at: number): Promise<number> {
  const target = new Uint8Array(1);
  await device.read(at, [target]);
  return target[0] as number;
}
function byteOf(image: PagedImage, at: number): number {
  const target = new Uint8Array(1);
  image.read(at, target);
  return target[0] as number;
}

describe("PagedImage", () => {
  it("forks are independent, however deep, and equal to plain arrays", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ from: fc.nat(), at: fc.nat(40_000), length: fc.nat(9000), fill: fc.nat(255) }), {
          maxLength: 25,
        }),
        (steps) => {
          const images = [new PagedImage(65536)];
          const models = [new Uint8Array(65536)];
          for (const { from, at, length, fill } of steps) {
            const i = from % images.length;
            const image = (images[i] as PagedImage).fork();
            const model = (models[i] as Uint8Array).slice();
            image.write(at, new Uint8Array(length).fill(fill));
            model.fill(fill, at, at + length);
            images.push(image);
            models.push(model);
          }
          images.forEach((image, i) => {
            const bytes = new Uint8Array(65536);
            image.read(0, bytes);
            expect(Buffer.compare(bytes, models[i] as Uint8Array)).toBe(0);
          });
        },
      ),
      { numRuns: 50 },
    );
  });

  it("refuses to change under its forks", () => {
    const image = new PagedImage(4096);
    image.fork();
    expect(() => image.write(0, Uint8Array.of(1))).toThrow(/forked/);
  });
});

describe("faults", () => {
  it("the n-th operation fails, once or from there on", async () => {
    const device = new SimulatedDevice("d", SIZE);
    device.fail({ operation: "write", nth: 2, effect: { kind: "error", code: "ENOSPC" } });
    await device.write(0, [Uint8Array.of(1)]);
    await expect(device.write(0, [Uint8Array.of(2)])).rejects.toMatchObject({ code: "ENOSPC", device: "d" });
    await device.write(0, [Uint8Array.of(3)]);
    device.fail({ operation: "read", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
    for (let i = 0; i < 3; i++)
      await expect(device.read(0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "EIO" });
    device.faults.clear();
    expect(await byteAt(device, 0)).toBe(3);
  });

  it("lies silently: lost, misdirected, flipped and torn writes, flipped reads", async () => {
    const device = new SimulatedDevice("d", SIZE);
    device.fail({ operation: "write", nth: 1, effect: { kind: "lost" } });
    await device.write(0, [Uint8Array.of(1)]);
    expect(await byteAt(device, 0)).toBe(0);
    device.fail({ operation: "write", nth: 1, effect: { kind: "misdirected", byBytes: 8192 } });
    await device.write(0, [Uint8Array.of(1)]);
    expect([await byteAt(device, 0), await byteAt(device, 8192)]).toEqual([0, 1]);
    device.fail({ operation: "write", nth: 1, atByte: 101, effect: { kind: "flipped", byte: 101, bit: 7 } });
    await device.write(0, [new Uint8Array(50)]);
    await device.write(100, [new Uint8Array(50)]);
    expect(await byteAt(device, 101)).toBe(128);
    device.fail({ operation: "write", nth: 1, effect: { kind: "error", code: "EIO", tornSectors: 1 } });
    await expect(device.write(4096, [new Uint8Array(1024).fill(9)])).rejects.toThrow();
    expect([await byteAt(device, 4096 + 511), await byteAt(device, 4096 + 512)]).toEqual([9, 0]);
    device.fail({ operation: "read", nth: 1, effect: { kind: "flipped", byte: 8192, bit: 1 } });
    expect(await byteAt(device, 8192)).toBe(3);
    expect(await byteAt(device, 8192)).toBe(1);
  });

  it("takes virtual time, and hangs for ever when told", async () => {
    const clock = new SimulatedClock();
    const device = new SimulatedDevice("d", SIZE, { clock, delayMs: (operation) => (operation === "flush" ? 50 : 10) });
    let done = "";
    void device.write(0, [Uint8Array.of(1)]).then(() => (done += "w"));
    void device.flush().then(() => (done += "f"));
    device.fail({ operation: "read", nth: 1, effect: { kind: "hang" } });
    void device.read(0, [new Uint8Array(1)]).then(() => (done += "r"));
    await clock.advance(9);
    expect(done).toBe("");
    await clock.advance(1);
    expect(done).toBe("w");
    await clock.advance(1000);
    expect(done).toBe("wf");
  });
});

describe("CrashPoint", () => {
  it("keeps what was flushed, loses what was not, tears at sectors", async () => {
    const disk = new SimulatedDisk();
    const device = new SimulatedDevice("d", SIZE, { disk });
    await device.write(0, [Uint8Array.of(1)]);
    await device.flush();
    await device.write(0, [Uint8Array.of(2)]);
    await device.write(4096, [new Uint8Array(1536).fill(3)]);
    const point = new CrashPoint(disk, 0);
    point.advanceTo(disk.events.length);
    expect(point.pending.length).toBe(2);
    expect(byteOf(point.image([]), 0)).toBe(1);
    const [first, second] = point.pending;
    const torn = point.image([{ event: second as never, sectors: [true, false, true] }, { event: first as never }]);
    expect([0, 4096, 4096 + 512, 4096 + 1024].map((at) => byteOf(torn, at))).toEqual([2, 3, 0, 3]);
    expect(byteOf(point.image([]), 4096)).toBe(0);
  });

  it("a flush covers only what had resolved before it was asked for", async () => {
    const disk = new SimulatedDisk();
    const clock = new SimulatedClock();
    let delayMs = 0;
    const device = new SimulatedDevice("d", SIZE, {
      disk,
      clock,
      delayMs: (operation) => (operation === "write" ? delayMs : 1),
    });
    await device.write(0, [Uint8Array.of(1)]);
    delayMs = 5;
    const late = device.write(4096, [Uint8Array.of(2)]);
    const flush = device.flush();
    await clock.advance(10);
    await Promise.all([late, flush]);
    const point = new CrashPoint(disk, 0);
    point.advanceTo(disk.events.length);
    expect(point.pending.map((write) => write.offsetBytes)).toEqual([4096]);
  });

  it("after a failed flush nothing written before it becomes durable by a later one", async () => {
    const disk = new SimulatedDisk();
    const device = new SimulatedDevice("d", SIZE, { disk });
    await device.write(0, [Uint8Array.of(1)]);
    device.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    await expect(device.flush()).rejects.toThrow();
    await device.write(4096, [Uint8Array.of(2)]);
    await device.flush();
    const point = new CrashPoint(disk, 0);
    point.advanceTo(disk.events.length);
    const image = point.image([]);
    expect([byteOf(image, 0), byteOf(image, 4096)]).toEqual([0, 2]);
  });

  it("tries tens of thousands of states in little time, each equal to a replay of the log", async () => {
    const disk = new SimulatedDisk();
    const device = new SimulatedDevice("d", 16 * SIZE, { disk });
    const random = new SeededRandom(7);
    for (let i = 0; i < 600; i++) {
      if (random.below(8) === 0) await device.flush();
      else await device.write(random.below(4000) * 4096, [new Uint8Array(4096).fill(random.below(256))]);
    }
    const point = new CrashPoint(disk, 0);
    let states = 0;
    for (let cut = 0; cut <= disk.events.length; cut++) {
      point.advanceTo(cut);
      for (let variant = 0; variant < 30; variant++, states++) {
        point.image(point.pending.filter(() => random.below(2) === 0).map((event) => ({ event })));
      }
    }
    expect(states).toBeGreaterThan(17_000);
    const everything = point.image(point.pending.map((event) => ({ event })));
    const [a, b] = [new Uint8Array(16 * SIZE), new Uint8Array(16 * SIZE)];
    everything.read(0, a);
    device.image.read(0, b);
    expect(Buffer.compare(a, b)).toBe(0);
  });
});
