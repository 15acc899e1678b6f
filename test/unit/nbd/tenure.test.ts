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
