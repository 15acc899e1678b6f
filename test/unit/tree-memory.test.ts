// Memory is what the cache says it is: every buffer taken for a block is in the cache or given back, also when a block is
// replaced while the operation that loaded it still pins it. (Such buffers once kept whole slabs alive, without bound.)

import { afterEach, expect, it, vi } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { BufferPool } from "../../src/tree/buffer-pool.ts";
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
