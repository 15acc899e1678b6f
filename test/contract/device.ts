// What every BlockDevice must do, whatever it is made of. test/unit/device-contract.test.ts runs it on all of them.

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type BlockDevice, DeviceError } from "../../src/device/device.ts";
import { extentsOf, zeroRange } from "../../src/device/sparse.ts";

export interface DeviceUnderTest {
  readonly device: BlockDevice;
  /** Gives back what the factory took; the device may be closed already. */
  readonly dispose: () => void | Promise<void>;
}

/** Declares the suite; the device must be at least 4 MiB, zero at first. */
export function deviceContract(kind: string, open: () => Promise<DeviceUnderTest>): void {
  describe(`BlockDevice contract: ${kind}`, () => {
    let subject: DeviceUnderTest;
    let device: BlockDevice;

    beforeEach(async () => {
      subject = await open();
      device = subject.device;
    });
    afterEach(async () => {
      await device.close();
      await subject.dispose();
    });

    const readAt = async (offsetBytes: number, lengthBytes: number): Promise<Uint8Array> => {
      const target = new Uint8Array(lengthBytes).fill(0xee);
      await device.read(offsetBytes, [target]);
      return target;
    };

    it("has a name and a size, and is zero at first", async () => {
      expect(device.name).not.toBe("");
      expect(device.sizeBytes).toBeGreaterThanOrEqual(4 * 1024 * 1024);
      expect(Buffer.from(await readAt(device.sizeBytes - 5000, 5000)).equals(Buffer.alloc(5000))).toBe(true);
    });

    it("reads back what was written, at odd places, over several buffers on both sides", async () => {
      await device.write(4093, [Uint8Array.of(1, 2, 3), Uint8Array.of(4), Uint8Array.of(5, 6, 7, 8)]);
      const a = new Uint8Array(2);
      const b = new Uint8Array(8);
      await device.read(4092, [a, b]);
      expect([...a, ...b]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 0]);
    });

    it("takes more buffers in a call than the system does at once", async () => {
      const sources = Array.from({ length: 2500 }, (_, i) => Uint8Array.of(i & 0xff, i >> 8));
      await device.write(1000, sources);
      const targets = Array.from({ length: 2500 }, () => new Uint8Array(2));
      await device.read(1000, targets);
      expect(Buffer.concat(targets).equals(Buffer.concat(sources))).toBe(true);
    });

    it("moves 1 MiB in one call, across any seam it may have", async () => {
      const bytes = new Uint8Array(1024 * 1024);
      for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 31) >> 3;
      for (let at = 0; at + bytes.length <= 4 * 1024 * 1024; at += bytes.length - 777) await device.write(at, [bytes]);
      expect(Buffer.from(await readAt(3 * (bytes.length - 777), 777)).equals(bytes.subarray(0, 777))).toBe(true);
    });

    it("carries out overlapping calls independently", async () => {
      const blocks = Array.from({ length: 40 }, (_, i) => new Uint8Array(3000).fill(i + 1));
      await Promise.all(blocks.map((block, i) => device.write(i * 3000, [block])));
      await Promise.all([device.flush(), device.flush()]);
      const back = await Promise.all(blocks.map((_, i) => readAt(i * 3000, 3000)));
      back.forEach((bytes, i) => expect(bytes.every((byte) => byte === i + 1)).toBe(true));
    });

    it("accepts empty lists and empty buffers", async () => {
      await device.write(0, []);
      await device.read(0, []);
      await device.write(10, [new Uint8Array(0), Uint8Array.of(9), new Uint8Array(0)]);
      expect((await readAt(10, 1))[0]).toBe(9);
    });

    it.each([-1, Number.NaN, 2 ** 60])(
      "refuses a read at %d with a DeviceError that names the device (I12)",
      async (at) => {
        const error: unknown = await device.read(at, [new Uint8Array(1)]).catch((reason: unknown) => reason);
        expect(error).toBeInstanceOf(DeviceError);
        expect((error as DeviceError).device).toBe(device.name);
        expect((error as DeviceError).operation).toBe("read");
      },
    );

    it("refuses a write that reaches past the end and changes nothing", async () => {
      const last = device.sizeBytes - 2;
      await expect(device.write(last, [Uint8Array.of(1, 2, 3)])).rejects.toBeInstanceOf(DeviceError);
      expect([...(await readAt(last, 2))]).toEqual([0, 0]);
    });

    it("discards without touching the neighbours; nonsense is ignored", async () => {
      await device.write(0, [new Uint8Array(256 * 1024).fill(7)]);
      await device.flush();
      await device.discard(65536, 65536);
      await device.discard(-1, 10);
      await device.discard(device.sizeBytes - 1, 100);
      expect((await readAt(0, 65536)).every((byte) => byte === 7)).toBe(true);
      expect((await readAt(131072, 131072)).every((byte) => byte === 7)).toBe(true);
      expect((await readAt(65536, 65536)).every((byte) => byte === 7 || byte === 0)).toBe(true);
    });

    it("prepares a range without touching what is beside it; nonsense is ignored", async () => {
      await device.write(0, [new Uint8Array(9).fill(4)]);
      await device.prepare?.(-1, 10);
      expect([...(await readAt(0, 9))]).toEqual(Array(9).fill(4));
      await device.write(1024 * 1024 - 8, [new Uint8Array(16).fill(5)]);
      await device.prepare?.(1024 * 1024, 65536);
      await device.write(1024 * 1024 + 4096, [Uint8Array.of(9)]);
      await device.flush();
      expect([...(await readAt(1024 * 1024 - 8, 8))]).toEqual(Array(8).fill(5));
      expect([...(await readAt(1024 * 1024 + 4096, 1))]).toEqual([9]);
    });

    it.each([false, true])("zeroes exactly a range, keeping its room: %s", async (keepRoom) => {
      await device.write(0, [new Uint8Array(3 * 1024 * 1024).fill(7)]);
      await zeroRange(device, 65000, 2 * 1024 * 1024, keepRoom);
      const bytes = Buffer.from(await readAt(0, 3 * 1024 * 1024));
      const expected = Buffer.alloc(bytes.length, 7).fill(0, 65000, 65000 + 2 * 1024 * 1024);
      expect(bytes.equals(expected)).toBe(true);
      if (device.zero === undefined) return;
      await expect(zeroRange(device, device.sizeBytes - 1, 2, keepRoom)).rejects.toBeInstanceOf(DeviceError);
    });

    it("calls a hole only what reads as zero, and covers a range without gaps", async () => {
      await device.write(1024 * 1024, [new Uint8Array(1024 * 1024).fill(7)]);
      await device.write(3 * 1024 * 1024 + 5, [Uint8Array.of(7)]);
      const [from, to] = [1000, device.sizeBytes - 3];
      let at = from;
      while (at < to) {
        const extents = await extentsOf(device, at, to - at, 2);
        expect(extents.length).toBeGreaterThan(0);
        expect(extents.length).toBeLessThanOrEqual(2);
        for (const { lengthBytes, isHole } of extents) {
          expect(lengthBytes).toBeGreaterThan(0);
          if (isHole) expect((await readAt(at, lengthBytes)).every((byte) => byte === 0)).toBe(true);
          at += lengthBytes;
        }
      }
      expect(at).toBe(to);
    });

    it("closes once, however often it is told; then refuses", async () => {
      const write = device.write(0, [new Uint8Array(100_000).fill(1)]);
      await write;
      await Promise.all([device.close(), device.close()]);
      await device.close();
      await expect(device.read(0, [new Uint8Array(1)])).rejects.toBeInstanceOf(DeviceError);
      await expect(device.write(0, [new Uint8Array(1)])).rejects.toBeInstanceOf(DeviceError);
    });

    it("behaves as a plain array of bytes does", async () => {
      const spanBytes = 300_000;
      const model = new Uint8Array(spanBytes);
      const action = fc.record({
        at: fc.nat(spanBytes - 1),
        lengths: fc.array(fc.nat(9000), { minLength: 1, maxLength: 5 }),
        fill: fc.integer({ min: 1, max: 255 }),
        write: fc.boolean(),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(action, { maxLength: 12 }), async (actions) => {
          for (const { at, lengths, fill, write } of actions) {
            const total = lengths.reduce((sum, length) => sum + length, 0);
            if (at + total > spanBytes) continue;
            const buffers = lengths.map((length, i) => new Uint8Array(length).fill(write ? fill + i : 0xaa));
            if (write) {
              await device.write(at, buffers);
              model.set(Buffer.concat(buffers), at);
            } else {
              await device.read(at, buffers);
              expect(Buffer.concat(buffers).equals(model.subarray(at, at + total))).toBe(true);
            }
          }
        }),
        { numRuns: 30 },
      );
    });
  });
}
