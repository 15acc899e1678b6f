// Which blocks the cache lets go of when memory is short, and what finding them costs.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { RefType } from "../../src/format/blockref.ts";
import { Block } from "../../src/tree/block.ts";
import { BufferPool } from "../../src/tree/buffer-pool.ts";
import { BlockCache } from "../../src/tree/cache.ts";

const KIB = 1024;
/** What a block takes with all that goes with it. */
const WITH_OVERHEAD = 4 * KIB + 768;

/** A cache with room for `room` blocks of 4 KiB. */
class Scene {
  readonly pool: BufferPool;
  readonly cache: BlockCache;

  constructor(room: number) {
    // The pool leaves a twelfth of its limit free.
    this.pool = new BufferPool(Math.ceil((room * WITH_OVERHEAD * 12) / 11));
    this.cache = new BlockCache(this.pool);
  }

  /** An operation that makes one block. */
  add(key: number): Block {
    const block = this.enter(key);
    this.cache.trim();
    return block;
  }

  /** A block made while the operation goes on. */
  enter(key: number): Block {
    const block = new Block(RefType.DATA, this.pool.take(4 * KIB));
    block.referenced = false;
    this.cache.add(key, block);
    return block;
  }

  get keys(): number[] {
    return Array.from({ length: 100 }, (_, key) => key).filter((key) => this.cache.has(key));
  }
}

it("lets go of the oldest first, and goes on where it stopped", () => {
  const scene = new Scene(8);
  for (let key = 0; key < 12; key++) scene.add(key);
  expect(scene.keys).toEqual([4, 5, 6, 7, 8, 9, 10, 11]);
});

it("lets go of nothing before the end of an operation, and then of as much as all of it took", () => {
  const scene = new Scene(8);
  const held = scene.add(0);
  for (let key = 1; key < 40; key++) scene.enter(key);
  expect(scene.cache.holds(held)).toBe(true);
  expect(scene.keys.length).toBe(40);
  scene.cache.trim();
  expect(scene.keys).toEqual([32, 33, 34, 35, 36, 37, 38, 39]);
});

it("gives back the buffer of what was loaded from a place that has another block now", () => {
  const scene = new Scene(8);
  for (let key = 0; key < 3; key++) scene.add(key);
  const { takenBytes } = scene.pool;
  const successor = scene.add(1);
  scene.cache.rekey(0, 2);
  expect([scene.cache.holds(successor), scene.keys]).toEqual([true, [1, 2]]);
  expect(takenBytes - scene.pool.takenBytes).toBe(WITH_OVERHEAD);
  expect(scene.cache.bytes).toBe(2 * 4 * KIB);
});

it("gives a block that was used a second chance, once", () => {
  const scene = new Scene(8);
  for (let key = 0; key < 8; key++) scene.add(key);
  for (let key = 0; key < 4; key++) scene.cache.get(key);
  for (let key = 8; key < 12; key++) scene.add(key);
  expect(scene.keys).toEqual([0, 1, 2, 3, 8, 9, 10, 11]);
  for (let key = 12; key < 20; key++) scene.add(key);
  expect(scene.keys.filter((key) => key < 12)).toEqual([]);
});

it("keeps what is dirty, being written or waited for, however short memory is", () => {
  const scene = new Scene(4);
  const [dirty, written, pinned] = [scene.add(0), scene.add(1), scene.add(2)];
  dirty.dirty = true;
  written.writing = 1;
  pinned.pins = 1;
  for (let key = 3; key < 60; key++) scene.add(key);
  expect(scene.keys).toEqual([0, 1, 2, 59]);
  dirty.dirty = false;
  written.writing = 0;
  pinned.pins = 0;
  for (let key = 60; key < 64; key++) scene.add(key);
  expect(scene.keys).toEqual([60, 61, 62, 63]);
});

it("keeps no table of the past alive while blocks come and go and memory is plenty", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const scene = new Scene(64);
  const heapAfter = (from: number, to: number): number => {
    for (let key = from; key < to; key++) {
      const block = scene.add(key);
      scene.cache.remove(block);
      scene.cache.recycle(block);
    }
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = heapAfter(0, 10_000);
  expect(heapAfter(10_000, 400_000) - before).toBeLessThan(2 * KIB * KIB);
});
