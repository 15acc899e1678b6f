// All histories of three copies up to six mounts, up to the order of the copies (I6): a few minutes. See ../histories.ts.

import { expect, it } from "vitest";
import { explore } from "../histories.ts";

it("all histories of three copies, up to six steps: nothing acknowledged is hidden, nothing is mixed", async () => {
  const { states, steps } = await explore(3, 6, true);
  console.log(`three copies, six steps, copies alike: ${steps} mounts, ${states} distinct states`);
  expect(states).toBeGreaterThanOrEqual(3000);
});
