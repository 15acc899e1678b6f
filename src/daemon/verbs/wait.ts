// wait: answers once the activities named are over, each by itself, and says if one did not reach its end.

import { z } from "zod";
import { CopiesError } from "../../copies/errors.ts";
import type { CatchUp, ScrubEnd } from "../../walk/caretaker.ts";
import { ACTIVITIES } from "../messages.ts";
import { defineVerb, type VerbContext } from "../verb.ts";

const Args = z.object({ activities: z.array(z.enum(ACTIVITIES)) });

const WAITS: Record<(typeof ACTIVITIES)[number], (context: VerbContext) => Promise<void>> = {
  resync: untilInSync,
  detach: untilDetached,
  scrub: untilScrubbed,
};

export const wait = defineVerb(
  Args,
  async (context, { activities }) => {
    for (const activity of ACTIVITIES) if (activities.includes(activity)) await WAITS[activity](context);
  },
  { whileFrozen: true },
);

async function untilInSync({ volume, caretaker }: VerbContext): Promise<void> {
  await caretaker.settled("resync");
  for (const copy of volume.copies.copies) {
    const end = caretaker.catchUps.get(copy.index)?.end;
    if (copy.standing === "in-sync" || copy.standing === "offline" || end === undefined) continue;
    // On its way out: nobody waits for it to be in sync.
    if (copy.standing === "leaving") continue;
    // What was wrong with it before it was being caught up is not what is wrong with it now.
    const reason = copy.standing === "syncing" ? undefined : copy.reason;
    const why = copy.noRoom ? WHY["no-room"] : (reason ?? WHY[end]);
    throw new CopiesError("unfinished", copy.name, `copy ${copy.index} is not in sync: ${why}; see h2ts status`);
  }
}

const WHY: Record<NonNullable<CatchUp["end"]>, string> = {
  complete: "it left again",
  failed: "its resync failed",
  "no-room": "it has no room",
  stopped: "its resync was stopped",
  unreadable: "blocks that it lacks can't be read on any copy",
};

async function untilDetached({ volume, caretaker }: VerbContext): Promise<void> {
  await caretaker.settled("detach");
  if (volume.members.leaving === 0) return;
  throw new CopiesError(
    "unfinished",
    `volume ${volume.title}`,
    "a copy could not leave; the notes of h2ts status -j say why",
  );
}

/** A scrub that is paused is not waited for: nobody knows for how long that is. */
async function untilScrubbed({ volume, caretaker }: VerbContext): Promise<void> {
  const name = `volume ${volume.title}`;
  for (let scrub = caretaker.scrub; scrub !== undefined; scrub = caretaker.scrub) {
    if (scrub.isPaused)
      throw new CopiesError("unfinished", name, "the scrub is paused; go on with h2ts scrub --resume DIR");
    await Promise.race([caretaker.settled("scrub"), scrub.untilPaused()]);
  }
  const failing = caretaker.lastScrub === undefined ? undefined : failingOf(caretaker.lastScrub);
  if (failing !== undefined) throw new CopiesError("unfinished", name, `${failing}; see h2ts status`);
}

/** What is wrong with how the last scrub ended; undefined when every bad block was repaired. */
function failingOf({ scrub, end }: ScrubEnd): string | undefined {
  if (end !== "complete") return `the scrub was not finished: it ${end === "failed" ? "failed" : `was ${end}`}`;
  const { errors, repaired, lost } = scrub.record;
  if (errors === repaired && lost === 0) return undefined;
  return `the scrub could not repair ${errors - repaired} of ${errors} bad blocks; ${lost} are lost on every copy`;
}
