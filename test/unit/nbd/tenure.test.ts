// When a node is still ours to write to, by lease and by heartbeat (I11).

import { expect, it } from "vitest";
import { Tenure } from "../../../src/nbd/client/tenure.ts";

const UNTIL_MS = 1000;

it.each([
  // lease at first, lease now, something to be written, time; gone on with, may write
  [5, 5, true, UNTIL_MS + 1, true, true],
  [5, 5, false, UNTIL_MS, true, true],
  [5, 6, false, 0, false, true],
  [5, 6, true, 0, false, true],
  [5, undefined, false, 0, false, true],
  [undefined, undefined, true, UNTIL_MS, true, true],
  [undefined, undefined, true, UNTIL_MS + 1, false, false],
  // Nothing of ours is on its way: whoever writes next asks the heartbeat.
  [undefined, undefined, false, UNTIL_MS + 1, true, false],
  // A server of others that turned into one of ours keeps no lease of before.
  [undefined, 5, true, UNTIL_MS + 1, false, false],
])(
  "lease %s, then %s, to be written: %s, at %i ms: gone on with %s, may write %s",
  (first, now, owes, nowMs, on, may) => {
    const tenure = new Tenure(first);
    tenure.writableUntilMs = UNTIL_MS;
    expect(tenure.refusal(now, owes, nowMs) === undefined).toBe(on);
    expect(tenure.mayWrite(nowMs)).toBe(may);
  },
);

it("is gone on with under another number while it is at rest and owes nothing, and that is counted until it is woken", () => {
  const tenure = new Tenure(5);
  tenure.rest();
  expect(tenure.refusal(5, false, 0)).toBeUndefined();
  tenure.goOn(5);
  expect(tenure.timesUnguarded).toBe(0);
  expect(tenure.refusal(6, true, 0)).toBeDefined();
  expect(tenure.refusal(undefined, false, 0)).toBeDefined();
  for (const number of [6, 7]) {
    expect(tenure.refusal(number, false, 0)).toBeUndefined();
    tenure.goOn(number);
  }
  expect(tenure.timesUnguarded).toBe(2);
  tenure.wake();
  expect(tenure.timesUnguarded).toBe(0);
  expect(tenure.refusal(7, true, 0)).toBeUndefined();
  for (const number of [5, 8]) expect(tenure.refusal(number, false, 0)).toBeDefined();
});

it("of a server of others that begins to keep leases has no number to compare with", () => {
  const tenure = new Tenure(undefined);
  tenure.rest();
  tenure.goOn(5);
  expect(tenure.timesUnguarded).toBe(0);
  expect(tenure.refusal(6, false, 0)).toBeUndefined();
});
