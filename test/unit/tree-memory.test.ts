// Memory is what the cache says it is: every buffer taken for a block is in the cache or given back, also when a block is
// replaced while the operation that loaded it still pins it. (Such buffers once kept whole slabs alive, without bound.)
// And what is given back is gone at once, without waiting for the collector.

import { afterEach, expect, it, vi } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { RefType } from "../../src/format/blockref.ts";
import { Block } from "../../src/tree/block.ts";
import { BufferPool } from "../../src/tree/buffer-pool.ts";
import { BlockCache } from "../../src/tree/cache.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";

afterEach(() => {
  vi.restoreAllMocks();
});

it("gives back every buffer that is not in the cache", async () => {
  let takenBytes = 0;
  const { take, give } = BufferPool.prototype;
  vi.spyOn(BufferPool.prototype, "take").mockImplementation(function (this: BufferPool, sizeBytes) {
    takenBytes += sizeBytes;
    return take.call(this, sizeBytes);
  });
  vi.spyOn(BufferPool.prototype, "give").mockImplementation(function (this: BufferPool, buffer) {
    takenBytes -= buffer.bytes.length;
    give.call(this, buffer);
  });
  let made = await SimulatedVolume.format(9, [64 * MIB, 64 * MIB]);
  const caller = { uid: 0, gid: 0, pid: 1, umask: 0 };
  const { ino } = await made.fs.makeNode(1, Buffer.from("file"), 0o100644, 0, 0, caller);
  for (let at = 0; at < 16; at++) await made.fs.write(ino, at * MIB, new Uint8Array(MIB).fill(at), {});
  made = await made.remount(8 * MIB);
  takenBytes = made.volume.cachedBytes;
  const random = new SeededRandom(9);
  const page = new Uint8Array(4096).fill(99);
  for (let i = 0; i < 4000; i++) await made.fs.write(ino, random.below(4096) * 4096, page, {});
  await made.fs.sync();
  expect(takenBytes - made.volume.cachedBytes).toBeLessThan(64 * 1024);
  expect(made.volume.cachedBytes).toBeLessThan(10 * MIB);
});

it("frees what the pool does not keep at once", () => {
  const pool = new BufferPool();
  const buffers = Array.from({ length: 1024 }, () => pool.take(64 * 1024));
  expect(pool.takenBytes).toBeGreaterThanOrEqual(64 * MIB);
  for (const buffer of buffers) pool.give(buffer);
  expect(pool.takenBytes).toBe(0);
  // Detached is freed: these are referenced, so it was not the collector.
  expect(buffers.filter(({ bytes }) => bytes.length > 0).length).toBeLessThanOrEqual(64);
});

it("counts what small blocks take besides their bytes", () => {
  const pool = new BufferPool(MIB);
  const cache = new BlockCache(pool);
  for (let key = 0; key < 4096; key++) {
    const block = new Block(RefType.INODE, pool.take(1024));
    block.referenced = false;
    cache.add(key, block);
  }
  expect(cache.bytes).toBeLessThan(0.535 * MIB);
  expect(cache.bytes).toBeGreaterThan(0.5 * MIB);
});

it("keeps free buffers below its limit, and gives them up for other sizes", () => {
  const pool = new BufferPool(16 * MIB);
  const large = Array.from({ length: 200 }, () => pool.take(64 * 1024));
  for (const buffer of large) pool.give(buffer);
  expect(large.every(({ bytes }) => bytes.length > 0)).toBe(true);
  const again = new Set(Array.from({ length: 200 }, () => pool.take(64 * 1024)));
  expect(large.every((buffer) => again.has(buffer))).toBe(true);
  for (const buffer of again) pool.give(buffer);
  const small = Array.from({ length: 2500 }, () => pool.take(4096));
  const keptBytes = large.reduce((sum, { bytes }) => sum + bytes.length, 0);
  expect(keptBytes + small.length * 4096).toBeLessThan(16 * MIB);
});
