// The clock of file times goes in the kernel's ticks, and tells the same time as the finer one of the same machine.

import { expect, it } from "vitest";
import { SystemClock, type Timespec } from "../../src/base/clock.ts";
import { KernelClock } from "../../src/daemon/kernel-clock.ts";

/** CONFIG_HZ is 100 at least; the rest is for this process to be interrupted between two looks. */
const BEHIND_MS_MAX = 1000;
const LOOKS = 20_000;

const milliseconds = ({ sec, nsec }: Timespec): number => sec * 1000 + nsec / 1e6;

it("tells the wall clock's time at its last tick, and never goes back", () => {
  const [coarse, fine] = [new KernelClock(), new SystemClock()];
  let last = coarse.now();
  let changes = 0;
  for (let look = 0; look < LOOKS; look++) {
    const now = coarse.now();
    expect(now.nsec).toBeGreaterThanOrEqual(0);
    expect(now.nsec).toBeLessThan(1e9);
    expect(milliseconds(now)).toBeGreaterThanOrEqual(milliseconds(last));
    if (now.nsec !== last.nsec || now.sec !== last.sec) changes++;
    last = now;
  }
  expect(Math.abs(milliseconds(fine.now()) - milliseconds(coarse.now()))).toBeLessThan(BEHIND_MS_MAX);
  expect(changes).toBeLessThan(LOOKS / 10);
});
