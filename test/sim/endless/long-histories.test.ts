// All histories of three copies up to six mounts, up to the order of the copies (I6), with every kind of mount, those too that
// the ordinary run, of five steps, leaves out because they can't differ: a minute or two. See ../histories.ts.

import { expect, it } from "vitest";
import { explore } from "../histories.ts";

it("all histories of three copies, up to six steps: nothing acknowledged is hidden, nothing is mixed", async () => {
  const { states, mounts } = await explore(3, 6, { alike: true, pruned: false });
  console.log(`three copies, six steps, copies alike: ${mounts} mounts, from ${states} states`);
  expect(states).toBeGreaterThanOrEqual(1200);
});
