// A worker's practice: every request of it is answered as it should be, programs come first, and nothing is left of it.

import { afterEach, describe, expect, it } from "vitest";
import { exercise } from "../../src/daemon/warm-up/exercise.ts";
import { PracticeKernel } from "../../src/daemon/warm-up/kernel.ts";
import { PracticeVolume } from "../../src/daemon/warm-up/volume.ts";
import { ROUNDS, WarmUp } from "../../src/daemon/warm-up/warm-up.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { practiceFiles } from "../model/practice-files.ts";

/** For what a slow machine may take long for. */
const LATER = { timeout: 60_000 };

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
};

describe("practice", () => {
  it.each([1, 2, 8])(
    "for a volume of %i copies goes through in bounded memory, and leaves nothing",
    async (copyCount) => {
      const clock = new SimulatedClock();
      const volume = await PracticeVolume.make(copyCount, clock);
      expect(practiceFiles()).toBe(Math.min(copyCount, 2));
      const faults: unknown[] = [];
      const kernel = new PracticeKernel(volume.fs, (error) => faults.push(error));
      let steps = 0;
      for (let round = 0; round < ROUNDS; round++) for await (const step of exercise(kernel, round)) steps += step ?? 1;
      expect(faults).toEqual([]);
      expect(steps).toBeGreaterThan(1000);
      await volume.close();
      expect(practiceFiles()).toBe(0);
    },
  );

  it("tells when an answer is not the one expected", async () => {
    const volume = await PracticeVolume.make(1, new SimulatedClock());
    const kernel = new PracticeKernel(volume.fs, () => undefined);
    await expect(kernel.unlink(1, "nothing")).rejects.toThrow("FUSE opcode 10 was answered with errno 2");
    expect(await kernel.lookup(1, "nothing")).toBe(0);
    await volume.close();
  });
});

describe("warm-up", () => {
  const clock = new SimulatedClock();
  const notes: string[] = [];
  let usedAtMs = 0;
  let warmUp: WarmUp;
  const begin = (copyCount = 2, memoryBytesMax = Infinity): void => {
    notes.length = 0;
    usedAtMs = clock.monotonicMs();
    warmUp = new WarmUp({
      clock,
      copyCount,
      memoryBytesMax,
      usedAtMs: () => usedAtMs,
      onNote: (line) => notes.push(line),
    });
  };
  afterEach(async () => {
    warmUp.close();
    await expect.poll(() => practiceFiles(), LATER).toBe(0);
  });

  it("waits for the mount to be quiet, pauses when it is used, and ends", { timeout: 120_000 }, async () => {
    begin();
    await clock.advance(1400);
    await turns(20);
    expect(practiceFiles(), "too early").toBe(0);
    for (let i = 0; i < 10; i++) {
      usedAtMs = clock.monotonicMs() + 100;
      await clock.advance(100);
      await turns(20);
      expect(practiceFiles(), "in use").toBe(0);
    }
    await clock.advance(400);
    await expect.poll(() => practiceFiles(), LATER).toBe(2);
    // In use again: it is still there long after the time it would have taken, and goes on then.
    usedAtMs = clock.monotonicMs() + 1000;
    await turns(100_000);
    expect(practiceFiles()).toBe(2);
    await clock.advance(1500);
    await expect.poll(() => practiceFiles(), LATER).toBe(0);
    expect(notes).toEqual([]);
  });

  it("gives up where the mount is always in use", async () => {
    begin();
    usedAtMs = Infinity;
    for (let second = 0; second < 62; second++) await clock.advance(1000);
    usedAtMs = -Infinity;
    await clock.advance(5000);
    await turns(100);
    expect(practiceFiles()).toBe(0);
    expect(notes).toEqual([]);
  });

  it("ends in the middle when it is closed", async () => {
    begin();
    await clock.advance(1600);
    await expect.poll(() => practiceFiles(), LATER).toBe(2);
    warmUp.close();
    await expect.poll(() => practiceFiles(), LATER).toBe(0);
    expect(notes).toEqual([]);
  });

  it("is left out where there is no memory for it", async () => {
    begin(2, 100 * 1024 * 1024);
    for (let second = 0; second < 3; second++) await clock.advance(1000);
    await turns(100);
    expect(practiceFiles()).toBe(0);
    expect(notes).toEqual([]);
  });

  it("notes why there is none", async () => {
    const { now } = clock;
    clock.now = () => {
      throw new Error("no time");
    };
    begin();
    await clock.advance(1600);
    await expect.poll(() => notes.length, LATER).toBe(1);
    expect(notes[0]).toMatch(/^no practice: Error: no time/);
    clock.now = now;
  });
});
