// suspend: a copy, or one node of it, is taken out of use for a while; it comes back at the next mount, or with resume. One that
// the volume can't do without is frozen, if that was asked for.

import { z } from "zod";
import { copyOrNodeNamed, membersOf } from "../../copies/copy-name.ts";
import { freeze, refuseFrozen } from "../../walk/freeze.ts";
import { takeOut } from "../../walk/take-out.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ copy: z.string(), freeze: z.boolean().optional() });

export const suspend = defineVerb(
  Args,
  async ({ volume, caretaker }, { copy, freeze: mayFreeze }) => {
    const { index, node } = copyOrNodeNamed(copy, membersOf(volume.rootImage.view));
    if (mayFreeze !== true) refuseFrozen(volume);
    // With one copy frozen there is no commit, and so nothing can be done without another one.
    const mustFreeze = volume.copies.frozen.length > 0 || (mayFreeze === true && volume.members.isNeeded(index));
    if (mustFreeze) await freeze(volume, index, node);
    else await takeOut(volume, caretaker, index, { lasting: false, ...(node !== undefined && { node }) });
  },
  { whileFrozen: true },
);
