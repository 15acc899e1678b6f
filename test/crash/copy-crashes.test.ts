// Power cuts while copies leave, return and are caught up: see copy-crashes.ts.

import { describe, expect, it } from "vitest";
import { MIB } from "../model/simulated-volume.ts";
import { cutPower, recordLoss, recordReturn } from "./copy-crashes.ts";
import { ORDINARY_STATES } from "./ordinary-states.ts";

const TWO = [18 * MIB, 24 * MIB];
const THREE = [18 * MIB, 24 * MIB, 20 * MIB];

describe("a power cut anywhere", () => {
  let distinct = 0;
  for (const [name, sizes] of [
    ["two", TWO],
    ["three", THREE],
  ] as const) {
    it(`while one of ${name} copies fails: what was acknowledged stays, and all come together again (I1, I2, I4)`, async () => {
      for (let seed = 1; seed <= 4; seed++) {
        const recording = await recordLoss(seed, sizes, seed % sizes.length);
        const { states, failures } = await cutPower(recording, 40, 3, seed % 2 === 0);
        expect(failures).toEqual([]);
        distinct += states;
      }
    });

    it(`while one of ${name} copies fails and file data is on one copy each: nothing acknowledged goes (I1, I2, I4)`, async () => {
      for (let seed = 21; seed <= 26; seed++) {
        const recording = await recordLoss(seed, sizes, seed % sizes.length, true);
        const { states, failures } = await cutPower(recording, 40, 3, seed % 2 === 0);
        expect(failures).toEqual([]);
        distinct += states;
      }
    });

    it(`while one of ${name} copies is caught up and file data is on one copy each: its last state is as whole as it was (I7, I8)`, async () => {
      for (let seed = 31; seed <= 36; seed++) {
        const recording = await recordReturn(seed, sizes, seed % sizes.length, true);
        const { states, failures } = await cutPower(recording, 40, 3, seed % 2 === 0);
        expect(failures).toEqual([]);
        distinct += states;
      }
    });

    it(`while one of ${name} copies is caught up: it goes on, and its last state is there to go back to (I7, I8)`, async () => {
      for (let seed = 11; seed <= 14; seed++) {
        const recording = await recordReturn(seed, sizes, seed % sizes.length);
        const { states, failures } = await cutPower(recording, 40, 3, seed % 2 === 0);
        expect(failures).toEqual([]);
        distinct += states;
      }
    });
  }

  it(`was tried in ${ORDINARY_STATES.leavingAndReturning} distinct states at least`, () => {
    console.log(`copies that leave and return: ${distinct} distinct crash states`);
    expect(distinct).toBeGreaterThanOrEqual(ORDINARY_STATES.leavingAndReturning);
  });
});
