// I4 over random workloads: see power-cut.ts. A seed that once failed stays in the list by name.

import { describe, expect, it } from "vitest";
import { MIB } from "../model/simulated-volume.ts";
import { record, tryCrashes } from "./power-cut.ts";

describe("a power cut anywhere", () => {
  for (let seed = 1; seed <= 6; seed++) {
    it(`leaves two copies at a state that was acknowledged or later (I4, seed ${seed})`, async () => {
      const recording = await record(seed, [16 * MIB, 24 * MIB], 200, 150_000);
      const { states, failures } = await tryCrashes(recording, { every: 1, perCut: 5, recrash: seed % 2 === 0 });
      expect(failures).toEqual([]);
      expect(states).toBeGreaterThan(200);
    });
  }

  it("leaves one copy, and three, likewise (I4)", async () => {
    for (const sizes of [[16 * MIB], [16 * MIB, 16 * MIB, 20 * MIB]]) {
      const recording = await record(31, sizes, 50, 100_000);
      const { failures } = await tryCrashes(recording, { every: 2, perCut: 3, recrash: true });
      expect(failures).toEqual([]);
    }
  });
});
