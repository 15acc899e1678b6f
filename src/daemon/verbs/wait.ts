// wait: answers once an activity is over, and says if it did not reach its end.

import { z } from "zod";
import { CopiesError } from "../../copies/errors.ts";
import { ACTIVITIES } from "../messages.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ activities: z.array(z.enum(ACTIVITIES)) });

export const wait = defineVerb(Args, async ({ volume, caretaker }, { activities }) => {
  await caretaker.settled();
  if (!activities.includes("resync")) return;
  for (const copy of volume.copies.copies) {
    const end = caretaker.catchUps.get(copy.index)?.end;
    if (copy.standing === "in-sync" || copy.standing === "offline" || end === undefined) continue;
    const why = copy.noRoom ? "it has no room" : (copy.reason ?? `its resync ${end}`);
    throw new CopiesError("needed", copy.name, `copy ${copy.index} is not in sync: ${why}; see h2ts status`);
  }
});
