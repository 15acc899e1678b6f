// All short histories of mounts and partitions (I6): see histories.ts. Copies differ by their index alone, which decides no
// more than whom a tie goes to; so three copies are followed in every order for three steps, and up to their order for four.
// Six steps of three copies take minutes: npm run sim.

import { describe, expect, it } from "vitest";
import { explore } from "./histories.ts";

describe("all histories of partitions and mounts", () => {
  for (const [copyCount, depth, alike, statesMin] of [
    [2, 6, false, 80],
    [3, 3, false, 400],
    [3, 4, true, 350],
  ] as const) {
    it(`of ${copyCount} copies, up to ${depth} steps${alike ? ", up to the order of the copies" : ""}: nothing acknowledged is hidden, nothing is mixed`, async () => {
      const { states, steps } = await explore(copyCount, depth, alike);
      console.log(
        `${copyCount} copies, ${depth} steps${alike ? ", copies alike" : ""}: ${steps} mounts, ${states} distinct states`,
      );
      expect(states).toBeGreaterThanOrEqual(statesMin);
    });
  }
});
