// Memory is what the cache says it is: every buffer taken for a block is in the cache or given back, also when a block is
// replaced while the operation that loaded it still pins it. (Such buffers once kept whole slabs alive, without bound.)
// And what is given back is gone at once, without waiting for the collector.

import { afterEach, expect, it, vi } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { RefType } from "../../src/format/blockref.ts";
import { Block } from "../../src/tree/block.ts";
import { BufferPool } from "../../src/tree/buffer-pool.ts";
import { BlockCache } from "../../src/tree/cache.ts";
import { FallocateMode, Seek } from "../../src/posix/requests.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { refusal } from "./errno.ts";

const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0 };
const WINDOW = 65536;

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
  const { ino } = await made.fs.makeNode(1, Buffer.from("file"), 0o100644, 0, 0, CALLER);
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

it("counts no buffer of a block that could not be read, however often that is tried", async () => {
  let made = await SimulatedVolume.format(10, [32 * MIB]);
  const { ino } = await made.fs.makeNode(1, Buffer.from("file"), 0o100644, 0, 0, CALLER);
  for (let i = 0; i < 16; i++) await made.fs.write(ino, i * WINDOW, new Uint8Array(WINDOW).fill(i), {});
  made = await made.remount();
  await made.fs.seek(ino, MIB - 1, Seek.HOLE);
  const { pool } = made.volume.store;
  const before = pool.takenBytes;
  made.devices[0]!.fail({ operation: "read", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
  for (let i = 0; i < 48; i++) {
    expect(await refusal(() => made.fs.read(ino, (i % 16) * WINDOW, WINDOW))).toBe("EIO");
  }
  expect(pool.takenBytes).toBe(before);
});

/** A file whose tree is not part of the open transaction, and of which one window has been read just now. All else is in memory. */
async function readFile(seed: number, at: number): Promise<{ made: SimulatedVolume; ino: number }> {
  const formatted = await SimulatedVolume.format(seed, [64 * MIB]);
  const { ino } = await formatted.fs.makeNode(1, Buffer.from("file"), 0o100644, 0, 0, CALLER);
  // So many that a block of refs lies between the inode and those above the data.
  for (let i = 0; i < 600; i++) await formatted.fs.write(ino, i * WINDOW, new Uint8Array(WINDOW).fill(1), {});
  const made = await formatted.remount(16 * MIB, undefined, false);
  await made.fs.write(ino, 0, new Uint8Array(WINDOW).fill(1), {});
  await made.volume.forceCommit();
  await made.fs.setAttributes(ino, { mtime: { sec: 1, nsec: 0 } });
  await made.fs.read(ino, at, WINDOW);
  return { made, ino };
}

it("keeps what an operation looks at until it is over, however short memory is", async () => {
  const at = 300 * WINDOW;
  for (const [change, from, to] of [
    ["write", 0, 20_480],
    ["punch", 1000, 2000],
  ] as const) {
    const { made, ino } = await readFile(11, at);
    const { pool } = made.volume.store;
    // As early writes do that are on their way.
    const held = Array.from({ length: 256 }, () => pool.take(WINDOW));
    expect(pool.isOverdrawn).toBe(true);
    const { sequence } = made.volume;
    if (change === "write") {
      // Otherwise the block was loaded by the write itself, and pinned.
      expect(made.fs.write(ino, at, new Uint8Array(to).fill(2), {})).toBe(to);
    } else {
      await made.fs.fallocate(ino, at + from, to - from, FallocateMode.PUNCH_HOLE | FallocateMode.KEEP_SIZE);
    }
    expect(made.volume.sequence).toBe(sequence);
    for (const buffer of held) pool.give(buffer);
    const wanted = new Uint8Array(WINDOW).fill(1).fill(change === "write" ? 2 : 0, from, to);
    const { pieces } = await made.fs.read(ino, at, WINDOW);
    expect(Buffer.compare(Buffer.concat(pieces), wanted), change).toBe(0);
  }
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
    cache.trim();
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
