// I4 over random workloads with files of many blocks: see power-cut.ts. A seed that once failed stays in the list by name.

import { describe, expect, it } from "vitest";
import { MIB } from "../model/simulated-volume.ts";
import { ORDINARY_STATES } from "./ordinary-states.ts";
import { record, tryCrashes } from "./power-cut.ts";

describe("a power cut anywhere", () => {
  let distinct = 0;
  for (let seed = 1; seed <= 5; seed++) {
    it(`leaves two copies at a state that was acknowledged or later (I4, seed ${seed})`, async () => {
      const recording = await record(seed, [16 * MIB, 24 * MIB], 150, 150_000, seed % 2 === 0);
      const { states, failures } = await tryCrashes(recording, { every: 1, perCut: 7, recrash: seed % 2 === 0 });
      expect(failures).toEqual([]);
      distinct += states;
    });
  }

  it(`was tried in ${ORDINARY_STATES.largeFiles} distinct states at least`, () => {
    console.log(`large files: ${distinct} distinct crash states`);
    expect(distinct).toBeGreaterThanOrEqual(ORDINARY_STATES.largeFiles);
  });
});
