// A limit that the process has already is not widened: it may not be possible, and nobody asked for it.

import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { limitMemory } from "../../src/daemon/system-calls.ts";

const TIB = 2 ** 40;

function limits(): number[] {
  const line = /^Max data size +(\S+) +(\S+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
  return [line?.[1], line?.[2]].map(Number);
}

// More than any test can have: it stays for this process.
it("limits the memory of this process, and never to more than before", () => {
  limitMemory(64 * TIB);
  const before = limits();
  expect(before[1]).toBeLessThanOrEqual(64 * TIB);
  limitMemory(128 * TIB);
  expect(limits()).toEqual(before);
});
