// The crash harness proves nothing unless it can fail: each of these bugs, put in on purpose, must be caught by it.

import { afterEach, describe, expect, it, vi } from "vitest";
import { CopySet } from "../../src/copies/copy-set.ts";
import { RingSet } from "../../src/copies/ring-set.ts";
import { Freemap } from "../../src/freemap/freemap.ts";
import { Leaf } from "../../src/freemap/leaf.ts";
import { MIB } from "../model/simulated-volume.ts";
import { isCaught } from "./hunt.ts";
import { record, tryCrashes } from "./power-cut.ts";

afterEach(() => vi.restoreAllMocks());

const caught = (writing: () => void, { seeds = 6, every = 1 } = {}): Promise<boolean> =>
  isCaught({
    seeds,
    writing,
    record: (seed) => record(seed, [16 * MIB, 16 * MIB], 150, 100_000),
    judge: (recording) => tryCrashes(recording, { every, perCut: 5, recrash: false, failuresMax: 1 }),
  });

describe("a seeded bug is caught", () => {
  it("no flush between the blocks and the root (I1, I2)", async () => {
    expect(
      await caught(() => {
        const flush = CopySet.prototype.flush;
        let calls = 0;
        vi.spyOn(CopySet.prototype, "flush").mockImplementation(function (this: CopySet) {
          return calls++ % 2 === 0 ? Promise.resolve() : flush.call(this);
        });
      }),
    ).toBe(true);
  });

  it("acknowledged before the root is flushed (I2)", async () => {
    expect(
      await caught(() => {
        const flush = CopySet.prototype.flush;
        let calls = 0;
        vi.spyOn(CopySet.prototype, "flush").mockImplementation(function (this: CopySet) {
          return calls++ % 2 === 1 ? Promise.resolve() : flush.call(this);
        });
      }),
    ).toBe(true);
  });

  it("blocks written to one copy only (I1)", async () => {
    expect(
      await caught(() => {
        const writeBlocks = CopySet.prototype.writeBlocks;
        vi.spyOn(CopySet.prototype, "writeBlocks").mockImplementation(function (this: CopySet, writes) {
          return writeBlocks.call(
            this,
            writes.map((write) => ({ ...write, pointers: write.pointers.map((kib, i) => (i === 1 ? 0 : kib)) })),
          );
        });
      }),
    ).toBe(true);
  });

  it("freed blocks reused while older roots name them (I3)", async () => {
    expect(
      await caught(() => {
        const rootDurable = Freemap.prototype.rootDurable;
        vi.spyOn(Freemap.prototype, "rootDurable").mockImplementation(function (this: Freemap, oldestTid: number) {
          rootDurable.call(this, oldestTid + 2);
        });
        // From the start of the (only) leaf each time, so that what was let go is taken again at once.
        const find = Leaf.prototype.find;
        vi.spyOn(Leaf.prototype, "find").mockImplementation(function (this: Leaf, sizeKib, _from, sparing) {
          return find.call(this, sizeKib, 0, sparing);
        });
      }),
    ).toBe(true);
  });

  it("the slot of the newest root overwritten by the next (root ring)", async () => {
    expect(
      await caught(() => {
        const write = RingSet.prototype.write;
        vi.spyOn(RingSet.prototype, "write").mockImplementation(async function (this: RingSet, image) {
          for (const ring of this.rings) ring.nextSlot = 0;
          await write.call(this, image);
        });
      }),
    ).toBe(true);
  });
});

it("nothing is caught where nothing was planted", async () => {
  expect(await caught(() => undefined, { seeds: 1, every: 20 })).toBe(false);
});
