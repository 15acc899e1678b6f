// Reading any copy, repairing the bad ones, writing all: I1, I2, I5, I12.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { CopySet } from "../../src/copies/copy-set.ts";
import { CorruptBlockError } from "../../src/copies/errors.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { FIRST_KIB, HEADER_BYTES, pointers, readOf, reassemble, scene, spoil } from "./copies-scene.ts";

const random = new SeededRandom(42);
const EIO = { kind: "error", code: "EIO" } as const;

describe("CopySet.readBlocks", () => {
  it.each([1, 2, 3] as const)("hands out what was written, with check code %d", async (checkType) => {
    const { copies } = await scene(2);
    const bytes = random.bytes(4096);
    const at = pointers(FIRST_KIB, FIRST_KIB + 64);
    await copies.writeBlocks([{ pointers: at, bytes }]);
    const read = readOf(bytes, at, false, checkType);
    await copies.readBlocks([read]);
    expect(read.error).toBeUndefined();
    expect(read.target).toEqual(bytes);
  });

  it("serves a damaged block from another copy, repairs it on the media, counts both (I5)", async () => {
    const { copies, devices } = await scene(2);
    const bytes = random.bytes(8192);
    const at = pointers(FIRST_KIB, FIRST_KIB);
    await copies.writeBlocks([{ pointers: at, bytes }]);
    await spoil(devices[0]!, FIRST_KIB + 4);
    const read = readOf(bytes, at, true);
    await copies.readBlocks([read]);
    expect(read.error).toBeUndefined();
    expect(read.target).toEqual(bytes);
    expect(copies.copy(0)).toMatchObject({ errors: { read: 0, write: 0, checksum: 1 }, repaired: 1 });
    const onMedia = new Uint8Array(8192);
    await devices[0]!.read(HEADER_BYTES + FIRST_KIB * 1024, [onMedia]);
    expect(onMedia).toEqual(bytes);
  });

  it("asks a copy that is out of use only when all others have failed", async () => {
    const { copies, devices } = await scene(3);
    const bytes = random.bytes(8192);
    const at = pointers(FIRST_KIB, FIRST_KIB, FIRST_KIB);
    await copies.writeBlocks([{ pointers: at, bytes }]);
    copies.copy(0)!.standing = "stale";
    copies.master = 1;
    const before = devices[0]!.calls.read;
    await spoil(devices[1]!, FIRST_KIB);
    const first = readOf(bytes, at, true);
    await copies.readBlocks([first]);
    expect(first.target).toEqual(bytes);
    expect(devices[0]!.calls.read).toBe(before);
    for (const device of [devices[1]!, devices[2]!]) await spoil(device, FIRST_KIB);
    const second = readOf(bytes, at, true);
    await copies.readBlocks([second]);
    expect(second.target).toEqual(bytes);
    expect(devices[0]!.calls.read).toBe(before + 1);
  });

  it("when the n-th read fails, for all n, every block is still served and the place rewritten (I5)", async () => {
    const blocks = Array.from({ length: 6 }, () => random.bytes(16384));
    // Two are adjacent on copy 0, so that one failing call covers several blocks.
    const places = [0, 16, 100, 200, 300, 400].map((kib) =>
      pointers(FIRST_KIB + 96 + kib - (kib % 16), 2048 + kib - (kib % 16)),
    );
    for (let n = 1; ; n++) {
      const { copies, devices } = await scene(2);
      await copies.writeBlocks(blocks.map((bytes, i) => ({ pointers: places[i]!, bytes })));
      const before = devices[0]!.calls.read;
      devices[0]!.fail({ operation: "read", nth: n, effect: EIO });
      const reads = blocks.map((bytes, i) => readOf(bytes, places[i]!, true));
      await copies.readBlocks(reads);
      reads.forEach((read, i) => {
        expect(read.error).toBeUndefined();
        expect(Buffer.compare(read.target, blocks[i]!)).toBe(0);
      });
      if (devices[0]!.calls.read - before < n) break;
      const copy = copies.copy(0)!;
      // A call over several blocks is tried again one by one, so a passing error may end without blame.
      expect(copy.errors.read).toBe(copy.repaired);
    }
  });

  it("a permanent read error blames the block, not its neighbours in the same call", async () => {
    const { copies, devices } = await scene(2);
    const blocks = Array.from({ length: 8 }, () => random.bytes(1024));
    await copies.writeBlocks(blocks.map((bytes, i) => ({ pointers: pointers(FIRST_KIB + i, FIRST_KIB + i), bytes })));
    const at = HEADER_BYTES + (FIRST_KIB + 3) * 1024;
    devices[0]!.fail({ operation: "read", nth: 1, permanent: true, atByte: at, effect: EIO });
    const reads = blocks.map((bytes, i) => readOf(bytes, pointers(FIRST_KIB + i, FIRST_KIB + i), true));
    await copies.readBlocks(reads);
    reads.forEach((read, i) => expect(Buffer.compare(read.target, blocks[i]!)).toBe(0));
    // One for the block itself, one for the repair that could not be read back.
    expect(copies.copy(0)!.errors).toEqual({ read: 2, write: 0, checksum: 0 });
    expect(copies.copy(0)!.repaired).toBe(0);
  });

  it("never returns bytes that do not verify, never writes without a verified source (I5)", async () => {
    const { copies, devices } = await scene(2);
    const bytes = random.bytes(4096);
    const at = pointers(FIRST_KIB, FIRST_KIB);
    await copies.writeBlocks([{ pointers: at, bytes }]);
    await spoil(devices[0]!, FIRST_KIB);
    await spoil(devices[1]!, FIRST_KIB);
    const writes = devices.map((device) => device.calls.write);
    const read = readOf(bytes, at);
    await copies.readBlocks([read]);
    expect(read.error).toBeInstanceOf(CorruptBlockError);
    expect(read.error!.places.map((place) => place.copyName)).toEqual(expect.arrayContaining(["a.img", "b.img"]));
    expect(read.error!.message).toContain("KiB 256");
    expect(read.target.every((byte) => byte === 0)).toBe(true);
    expect(devices.map((device) => device.calls.write)).toEqual(writes);
  });

  it("a repair that lies is not counted as one", async () => {
    const { copies, devices } = await scene(2);
    const bytes = random.bytes(4096);
    const at = pointers(FIRST_KIB, FIRST_KIB);
    await copies.writeBlocks([{ pointers: at, bytes }]);
    await spoil(devices[0]!, FIRST_KIB);
    devices[0]!.fail({ operation: "write", nth: 1, effect: { kind: "lost" } });
    const read = readOf(bytes, at, true);
    await copies.readBlocks([read]);
    expect(read.error).toBeUndefined();
    expect(copies.copy(0)).toMatchObject({ repaired: 0, errors: { checksum: 2 } });
  });

  it("two readers of one bad block repair it once", async () => {
    const { copies, devices } = await scene(2);
    const bytes = random.bytes(4096);
    const at = pointers(FIRST_KIB, FIRST_KIB);
    await copies.writeBlocks([{ pointers: at, bytes }]);
    await spoil(devices[0]!, FIRST_KIB);
    await Promise.all([copies.readBlocks([readOf(bytes, at, true)]), copies.readBlocks([readOf(bytes, at, true)])]);
    expect(copies.copy(0)!.repaired).toBe(1);
  });

  it("open for reading only, serves and counts but repairs nothing", async () => {
    const { copies, devices } = await scene(2);
    const bytes = random.bytes(4096);
    const at = pointers(FIRST_KIB, FIRST_KIB);
    await copies.writeBlocks([{ pointers: at, bytes }]);
    await spoil(devices[0]!, FIRST_KIB);
    const readOnly = await reassemble(devices, true);
    const writes = devices.map((device) => device.calls.write);
    const read = readOf(bytes, at, true);
    await readOnly.readBlocks([read]);
    expect(read.error).toBeUndefined();
    expect(readOnly.copy(0)!.errors.checksum).toBe(1);
    expect(devices.map((device) => device.calls.write)).toEqual(writes);
  });

  it("follows no pointer into rings, past the end or between blocks, and repairs none (I12)", async () => {
    const { copies, devices } = await scene(2);
    const bytes = random.bytes(4096);
    const good = FIRST_KIB + 64;
    await copies.writeBlocks([{ pointers: pointers(good, good), bytes }]);
    const writes = devices.map((device) => device.calls.write);
    for (const bad of [1, 252, 255, 16384 - 256, 16384, 2 ** 47, FIRST_KIB + 1, Number.MAX_SAFE_INTEGER]) {
      const served = readOf(bytes, pointers(bad, good), true);
      await copies.readBlocks([served]);
      expect(served.error).toBeUndefined();
      const refused = readOf(bytes, pointers(bad), true);
      await copies.readBlocks([refused]);
      expect(refused.error).toBeInstanceOf(CorruptBlockError);
    }
    const unknownCheck = { ...readOf(bytes, pointers(good, good)), checkType: 7 };
    const nowhere = readOf(bytes, pointers());
    const elsewhere = readOf(bytes, pointers(0, 0, 4096));
    await copies.readBlocks([unknownCheck, nowhere, elsewhere]);
    for (const read of [unknownCheck, nowhere, elsewhere]) expect(read.error).toBeInstanceOf(CorruptBlockError);
    expect(devices.map((device) => device.calls.write)).toEqual(writes);
  });

  it("metadata comes from the master, data from all copies; neighbours share a call", async () => {
    const { copies, devices } = await scene(2);
    const blocks = Array.from({ length: 64 }, () => random.bytes(65536));
    const at = blocks.map((_, i) => pointers(FIRST_KIB + i * 64, 8192 + i * 64));
    await copies.writeBlocks(blocks.map((bytes, i) => ({ pointers: at[i]!, bytes })));
    expect(devices.map((device) => device.calls.write)).toEqual(
      [2 + 5, 2 + 5].map((calls) => expect.closeTo(calls, -1) as number),
    );
    const before = devices.map((device) => device.calls.read);
    await copies.readBlocks(blocks.map((bytes, i) => readOf(bytes, at[i]!)));
    const data = devices.map((device, i) => device.calls.read - before[i]!);
    expect(data.every((calls) => calls >= 2 && calls <= 4)).toBe(true);
    await copies.readBlocks(blocks.map((bytes, i) => readOf(bytes, at[i]!, true)));
    const metadata = devices.map((device, i) => device.calls.read - before[i]! - data[i]!);
    expect(metadata).toEqual([4, 0]);
  });

  it("whatever is damaged, what is handed out is right or an error, and one good copy is enough (I5)", async () => {
    const damage = fc.array(fc.record({ block: fc.nat(11), copy: fc.nat(2), kind: fc.nat(2) }), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(
        damage,
        fc.shuffledSubarray(
          Array.from({ length: 12 }, (_, i) => i),
          { minLength: 1 },
        ),
        async (damages, order) => {
          const { copies, devices } = await scene(3);
          const blocks = Array.from({ length: 12 }, (_, i) => random.bytes(1024 << (i % 4)));
          const at = blocks.map((_, i) => pointers(FIRST_KIB + i * 8, 1024 + (11 - i) * 8, 2048 + i * 16));
          await copies.writeBlocks(blocks.map((bytes, i) => ({ pointers: at[i]!, bytes })));
          const spoiled = blocks.map(() => 0);
          for (const { block, copy, kind } of damages) {
            spoiled[block]! |= 1 << copy;
            const kib = at[block]![copy]!;
            if (kind === 0) await spoil(devices[copy]!, kib);
            else if (kind === 1) devices[copy]!.image.flipBit(HEADER_BYTES + kib * 1024 + 17, 3);
            else
              devices[copy]!.fail({
                operation: "read",
                nth: 1,
                permanent: true,
                atByte: HEADER_BYTES + kib * 1024,
                effect: EIO,
              });
          }
          const reads = order.map((i) => readOf(blocks[i]!, at[i]!, i % 2 === 0));
          await copies.readBlocks(reads);
          reads.forEach((read, n) => {
            const i = order[n]!;
            if (read.error === undefined) expect(Buffer.compare(read.target, blocks[i]!)).toBe(0);
            else expect(read.target.every((byte) => byte === 0)).toBe(true);
            if (spoiled[i] !== 0b111) expect(read.error).toBeUndefined();
          });
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("CopySet.writeBlocks and flush", () => {
  it("a failed write marks its copy, after all other I/O is over (I2)", async () => {
    const { copies, devices } = await scene(3);
    const bytes = random.bytes(4096);
    devices[1]!.fail({ operation: "write", nth: 1, effect: { kind: "error", code: "ENOSPC" } });
    let told = 0;
    copies.onFailure = () => told++;
    await copies.writeBlocks([{ pointers: pointers(FIRST_KIB, FIRST_KIB, FIRST_KIB), bytes }]);
    expect(copies.failed.map(({ index, failure }) => [index, failure?.code])).toEqual([[1, "ENOSPC"]]);
    expect(copies.failed[0]?.failure?.message).toContain("b.img");
    expect(copies.active.map(({ index }) => index)).toEqual([0, 2]);
    expect(told).toBe(1);
    const onThird = new Uint8Array(4096);
    await devices[2]!.read(HEADER_BYTES + FIRST_KIB * 1024, [onThird]);
    expect(onThird).toEqual(bytes);
    expect(copies.copy(1)!.errors.write).toBe(1);
  });

  it("a failed flush is never taken back: nothing more is written to that copy (I2)", async () => {
    const { copies, devices } = await scene(2);
    devices[0]!.fail({ operation: "flush", nth: 1, effect: EIO });
    await copies.flush();
    const calls = { ...devices[0]!.calls };
    await copies.flush();
    await copies.writeBlocks([{ pointers: pointers(FIRST_KIB, FIRST_KIB), bytes: random.bytes(1024) }]);
    expect(devices[0]!.calls).toEqual(calls);
    expect(copies.failed.map(({ index }) => index)).toEqual([0]);
  });

  it("a copy that stalls is given up one deadline after the fastest is done; a slow machine drops none (I9)", async () => {
    const clock = new SimulatedClock();
    const { copies, devices } = await scene(2);
    const set = new CopySet(copies.copies, { volumeUuid: copies.volumeUuid, clock, deadlineMs: 100 });
    const write = { pointers: pointers(FIRST_KIB, FIRST_KIB), bytes: random.bytes(1024) };
    devices[1]!.fail({ operation: "write", nth: 1, effect: { kind: "hang" } });
    let over = false;
    const done = set.writeBlocks([write]).then(() => (over = true));
    await clock.advance(0);
    await clock.advance(99);
    expect(over).toBe(false);
    await clock.advance(1);
    await done;
    expect(set.failed.map(({ index, failure }) => [index, failure?.code])).toEqual([[1, "ETIMEDOUT"]]);

    const slow = await scene(2);
    for (const device of slow.devices) device.fail({ operation: "write", nth: 1, effect: { kind: "hang" } });
    const both = new CopySet(slow.copies.copies, { volumeUuid: slow.volumeUuid, clock, deadlineMs: 100 });
    void both.writeBlocks([write]);
    await clock.advance(1000);
    expect(both.failed).toEqual([]);
  });

  it("refuses to write outside the block area, or through a set open for reading only", async () => {
    const { copies, devices } = await scene(1);
    const bytes = random.bytes(4096);
    await expect(copies.writeBlocks([{ pointers: pointers(4), bytes }])).rejects.toThrow(/ring area/);
    await expect(copies.writeBlocks([{ pointers: pointers(FIRST_KIB + 2), bytes }])).rejects.toThrow(/aligned/);
    const readOnly = await reassemble(devices, true);
    await expect(readOnly.writeBlocks([{ pointers: pointers(FIRST_KIB), bytes }])).rejects.toThrow(/reading only/);
  });
});
