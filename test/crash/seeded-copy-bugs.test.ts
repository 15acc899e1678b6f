// The harness of copies that leave and return is worth what it catches: bugs put in on purpose, each of which some crash
// state or some history must show.

import { afterEach, describe, expect, it, vi } from "vitest";
import { Copy } from "../../src/copies/copy.ts";
import { Freemap } from "../../src/freemap/freemap.ts";
import { CopyPointers } from "../../src/tree/copy-pointers.ts";
import { Members } from "../../src/volume/members.ts";
import { MIB } from "../model/simulated-volume.ts";
import { cutPower, recordLoss, recordReturn } from "./copy-crashes.ts";
import { isCaught } from "./hunt.ts";

const SIZES = [18 * MIB, 24 * MIB];

afterEach(() => vi.restoreAllMocks());

const caught = (record: typeof recordLoss, writing: () => void, seeds = 12): Promise<boolean> =>
  isCaught({
    seeds,
    writing,
    record: (seed) => record(seed, SIZES, seed % 2),
    judge: (recording) => cutPower(recording, 40, 1, false),
  });

describe("a seeded bug is caught", () => {
  it("pointers to a failed copy that it never flushed are kept (I1, I2)", async () => {
    const plant = (): void => void vi.spyOn(CopyPointers.prototype, "clear").mockReturnValue(false);
    expect(await caught(recordLoss, plant)).toBe(true);
  });

  it("no new epoch when a copy is dropped (I2, I6)", async () => {
    const plant = (): void =>
      void vi.spyOn(Members.prototype, "leave").mockImplementation(function (this: Members) {
        this.align(); // Neither the in-sync set nor the epoch changes.
      });
    expect(await caught(recordLoss, plant)).toBe(true);
  });

  it("what was brought is entered before it is flushed (I1, I8)", async () => {
    const plant = (): void => {
      const flush = Copy.prototype.flush;
      // The resync flushes a copy while it is being caught up; the commit does so for copies of any standing.
      vi.spyOn(Copy.prototype, "flush").mockImplementation(function (this: Copy) {
        return this.standing === "syncing" ? Promise.resolve() : flush.call(this);
      });
    };
    expect(await caught(recordReturn, plant)).toBe(true);
  });

  it("the anchor's blocks are given out while the copy is caught up (I7)", async () => {
    const plant = (): void => void vi.spyOn(Freemap.prototype, "anchor").mockReturnValue(undefined);
    expect(await caught(recordReturn, plant)).toBe(true);
  });

  it("a copy joins although something is owed to it (I8)", async () => {
    const plant = (): void => {
      const joining = Members.prototype.joining;
      vi.spyOn(Members.prototype, "joining").mockImplementation(function (this: Members) {
        return joining.call(this, 0);
      });
    };
    expect(await caught(recordReturn, plant)).toBe(true);
  });

  it("nothing is caught where nothing was planted", async () => {
    expect(await caught(recordReturn, () => undefined, 3)).toBe(false);
  });
});
