// clear: what was counted against copies so far is forgotten; where they stand, what they failed for and what they lack is not.

import { z } from "zod";
import { copyNamed, membersOf } from "../../copies/copy-name.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ copy: z.string().optional() });

export const clear = defineVerb(Args, async ({ volume, caretaker }, { copy }) => {
  const members = membersOf(volume.rootImage.view);
  const indices = copy === undefined ? members.map(({ index }) => index) : [copyNamed(copy, members)];
  const counted = await volume.clearErrors(indices);
  for (const [index, { read, write, checksum, repaired }] of counted) {
    if (read + write + checksum + repaired === 0) continue;
    const errors = `${read} read, ${write} write and ${checksum} checksum errors`;
    caretaker.note(`copy ${index} was cleared: it had ${errors}, and ${repaired} blocks repaired`);
  }
  // What no copy has is no one copy's.
  if (copy === undefined) volume.store.clearLost();
});
