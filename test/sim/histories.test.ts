// All histories of up to six mounts and partitions of two copies and up to five of three (I6): see histories.ts. Copies differ by
// their index alone, which decides no more than whom a tie goes to: three copies are followed in every order, and with every
// kind of mount, for three steps; up to their order, and without mounts that can't differ, for five. Six: endless/long-histories.test.ts.

import { describe, expect, it } from "vitest";
import { explore } from "./histories.ts";

describe("all histories of partitions and mounts", () => {
  for (const [copyCount, depth, pruned, statesMin] of [
    [2, 6, false, 70],
    [3, 3, false, 60],
    [3, 5, true, 300],
  ] as const) {
    it(`of ${copyCount} copies, up to ${depth} steps${pruned ? ", up to the order of the copies" : ""}: nothing acknowledged is hidden, nothing is mixed (I6, trap 3)`, async () => {
      const { states, mounts } = await explore(copyCount, depth, { alike: pruned, pruned });
      console.log(
        `${copyCount} copies, ${depth} steps${pruned ? ", pruned" : ""}: ${mounts} mounts, from ${states} states`,
      );
      expect(states).toBeGreaterThanOrEqual(statesMin);
    });
  }
});
