// wait: answers once the activities named are over, each by itself, and says if one did not reach its end.

import { z } from "zod";
import type { Copy } from "../../copies/copy.ts";
import { CopiesError } from "../../copies/errors.ts";
import { COPIES_MAX } from "../../format/geometry.ts";
import { MemberFlag } from "../../format/last-seen.ts";
import { rootLastSeen, rootMemberFlags } from "../../format/root-members.ts";
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
  const { view } = volume.rootImage;
  for (let index = 0; index < COPIES_MAX; index++) {
    const copy = volume.copies.copies.find((each) => each.index === index);
    const isOut = (rootMemberFlags(view, index) & (MemberFlag.OFFLINE | MemberFlag.LEAVING)) !== 0;
    // Taken out, or on its way out: nobody waits for it to be in sync.
    if (copy === undefined ? isOut || rootLastSeen(view, index) === undefined : isExcused(copy)) continue;
    const why = copy === undefined ? "it is missing" : lackOf(copy, caretaker.catchUps.get(index)?.end);
    const name = copy?.name ?? `volume ${volume.title}`;
    throw new CopiesError("unfinished", name, `copy ${index} is not in sync: ${why}; see h2ts status`);
  }
}

const isExcused = ({ standing, failure }: Copy): boolean =>
  standing === "offline" || standing === "leaving" || (standing === "in-sync" && failure === undefined);

/** What a copy at hand that is not in sync lacks; `end` is that of its last catch-up. */
function lackOf({ standing, reason, failure, noRoom }: Copy, end: CatchUp["end"]): string {
  if (noRoom) return WHY["no-room"];
  // What was wrong with it before it was being caught up is not what is wrong with it now.
  const before = failure?.message ?? (standing === "syncing" ? undefined : reason);
  return before ?? (end === undefined ? "it is not being caught up" : WHY[end]);
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
  if ((volume.members.leaving | volume.members.replaced) === 0) return;
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
