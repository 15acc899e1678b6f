// scrub: every block of every copy is read and repaired where it is bad; begun, paused, resumed or cancelled.

import { z } from "zod";
import { CopiesError } from "../../copies/errors.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ action: z.enum(["start", "pause", "resume", "cancel"]) });

export const scrub = defineVerb(
  Args,
  ({ volume, caretaker }, { action }) => {
    if (action === "start") {
      caretaker.startScrub();
      return;
    }
    const under = caretaker.scrub;
    if (under === undefined) throw new CopiesError("not-begun", `volume ${volume.title}`, "no scrub is under way");
    if (action === "pause") under.pause();
    else if (action === "resume") under.resume();
    else under.cancel();
  },
  { whileFrozen: true },
);
