// I4 over random workloads with small files, through logs or by many commits, on one copy, two and three: see power-cut.ts.

import { describe, expect, it } from "vitest";
import { MIB } from "../model/simulated-volume.ts";
import { ORDINARY_STATES } from "./ordinary-states.ts";
import { record, tryCrashes } from "./power-cut.ts";

const FIRST_SEED = 101;
const SEEDS = 21;
const SIZES = [6 * MIB, 8 * MIB, 7 * MIB];

/** Two copies mostly; one and three every few seeds. */
const copyCount = (seed: number): number => (seed % 8 === 0 ? 1 : seed % 8 === 4 ? 3 : 2);

describe("a power cut anywhere, small files", () => {
  let distinct = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
    it(`leaves ${copyCount(seed)} at a state that was acknowledged or later (I4, seed ${seed})`, async () => {
      const logged = seed % 2 === 0;
      const recording = await record(seed, SIZES.slice(0, copyCount(seed)), logged ? 160 : 100, 20_000, logged);
      const { states, failures } = await tryCrashes(recording, { every: 1, perCut: 8, recrash: seed % 3 === 0 });
      expect(failures).toEqual([]);
      distinct += states;
    });
  }

  it(`was tried in ${ORDINARY_STATES.smallFiles} distinct states at least`, () => {
    console.log(`small files: ${distinct} distinct crash states`);
    expect(distinct).toBeGreaterThanOrEqual(ORDINARY_STATES.smallFiles);
  });
});
