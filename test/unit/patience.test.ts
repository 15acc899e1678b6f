// When the supervisor starts another worker, and when it stops doing so.

import { describe, expect, it } from "vitest";
import { type Death, Patience } from "../../src/daemon/patience.ts";

const GOOD_KILL: Death = { servedMs: 300, killed: true, settled: true };

/** How many deaths of this kind in a row it takes until there is no other worker; at most 100. */
function lasts(death: Death, patience = new Patience()): number {
  for (let deaths = 1; deaths <= 100; deaths++) if (patience.died(death) === undefined) return deaths;
  return Infinity;
}

describe("patience with workers that die", () => {
  it("has no end where each of them came to something before it was killed", () => {
    expect(lasts(GOOD_KILL)).toBe(Infinity);
    expect(new Patience().died(GOOD_KILL)).toBe(0);
  });

  it("ends where they die while they start, or soon", () => {
    expect(lasts({ servedMs: 0, killed: false, settled: false })).toBe(9);
    expect(lasts({ servedMs: 200, killed: true, settled: true })).toBe(9);
  });

  it("ends where a request that is sent again takes long, and then kills each", () => {
    expect(lasts({ servedMs: 5000, killed: true, settled: false })).toBe(9);
    expect(lasts({ servedMs: 60_000, killed: false, settled: false })).toBe(9);
  });

  it("ends where each fails by itself after a while, not where that is rare", () => {
    expect(lasts({ servedMs: 2000, killed: false, settled: true })).toBe(9);
    expect(lasts({ servedMs: 20_000, killed: false, settled: true })).toBe(Infinity);
  });

  it("begins anew after one that came to something, and waits longer each time until then", () => {
    const patience = new Patience();
    const bad: Death = { servedMs: 10, killed: true, settled: false };
    const waits = Array.from({ length: 8 }, () => patience.died(bad) as number);
    expect(waits).toEqual(waits.toSorted((a, b) => a - b));
    expect(patience.died(GOOD_KILL)).toBe(0);
    expect(lasts(bad, patience)).toBe(8);
  });
});
