// The allocator against a plain set of KiB: runs are aligned, disjoint, inside the usable range; what a root may still
// name is not given out again before two later roots are durable (I3); the reserve stays whole for those who may not
// touch it (I10). Seeds are printed by fast-check.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { usableRange } from "../../src/format/freemap.ts";
import { Claim, Freemap, NO_ROOM } from "../../src/freemap/freemap.ts";
import { popcount } from "../../src/freemap/leaf.ts";

const SIZES = [1, 2, 4, 8, 16, 32, 64];

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("allocate" as const), size: fc.constantFrom(...SIZES) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("freeLater" as const), pick: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("freeNow" as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("commit" as const) }) },
);

describe("freemap", () => {
  it("gives out aligned, disjoint runs and holds back what older roots name (I3)", () => {
    fc.assert(
      fc.property(fc.integer({ min: 256, max: 1200 }), fc.array(step, { maxLength: 400 }), (chunks, steps) => {
        const sizeKib = chunks * 64;
        const freemap = new Freemap(0, sizeKib, () => undefined);
        const [start, end] = usableRange(sizeKib);
        const live: { kib: number; size: number }[] = [];
        const heldUntil = new Map<number, number>();
        const used = new Set<number>();
        let tid = 1;
        for (const action of steps) {
          if (action.do === "allocate") {
            const kib = freemap.allocate(action.size, Claim.ORDINARY);
            if (kib === NO_ROOM) continue;
            expect(kib % action.size).toBe(0);
            expect(kib).toBeGreaterThanOrEqual(start);
            expect(kib + action.size).toBeLessThanOrEqual(end);
            for (let at = kib; at < kib + action.size; at++) {
              expect(used.has(at)).toBe(false);
              expect(heldUntil.get(at) ?? 0).toBeLessThan(tid);
              used.add(at);
            }
            live.push({ kib, size: action.size });
          } else if (action.do === "commit") {
            freemap.applyPending(tid);
            freemap.rootDurable(tid - 2);
            tid++;
          } else if (live.length > 0) {
            const [run] = live.splice(action.pick % live.length, 1) as [{ kib: number; size: number }];
            if (action.do === "freeNow") freemap.freeNow(run.kib, run.size);
            else freemap.freeLater(run.kib, run.size);
            for (let at = run.kib; at < run.kib + run.size; at++) {
              used.delete(at);
              // Freed in tid: named by tid-1 and before; all of them are overwritten once tid+2 is durable.
              if (action.do === "freeLater") heldUntil.set(at, tid + 2);
            }
          }
        }
        for (let i = 0; i < 3; i++, tid++) {
          freemap.applyPending(tid);
          freemap.rootDurable(tid - 2);
        }
        expect(freemap.unusedKib).toBe(end - start - used.size);
        let recorded = 0;
        for (const leaf of freemap.changedLeaves())
          recorded += leaf.words.reduce((sum, word) => sum + popcount(word), 0);
        expect(recorded).toBe(used.size);
      }),
      { numRuns: 300 },
    );
  });

  it("keeps whole chunks for deleting and for the commit when ordinary claims find no room (I10)", () => {
    const freemap = new Freemap(0, 64 * 1024, () => undefined);
    let ordinary = 0;
    while (freemap.allocate(1, Claim.ORDINARY) !== NO_ROOM) ordinary++;
    const [start, end] = usableRange(64 * 1024);
    expect(ordinary).toBe(end - start - freemap.reserveChunks * 64);
    let deleting = 0;
    while (freemap.allocate(64, Claim.DELETING) !== NO_ROOM) deleting++;
    expect(deleting).toBe((freemap.reserveChunks * 3) / 4);
    expect(freemap.allocate(64, Claim.COMMIT)).not.toBe(NO_ROOM);
  });
});
