// online, resume: a copy that was out of use comes back and is caught up; one that is frozen goes on where it stopped.

import { z } from "zod";
import { copyOrNodeNamed, membersOf } from "../../copies/copy-name.ts";
import { CopiesError } from "../../copies/errors.ts";
import { bringBack } from "../../walk/bring-back.ts";
import { refuseFrozen, thaw } from "../../walk/freeze.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ copy: z.string(), target: z.string().optional(), noAnchor: z.boolean().optional() });

export const online = defineVerb(
  Args,
  async ({ volume, caretaker }, { copy, target, noAnchor }) => {
    const { index, node } = copyOrNodeNamed(copy, membersOf(volume.rootImage.view));
    const here = volume.copies.copy(index);
    if (here !== undefined && here.frozenNodes.length > 0) {
      if (target === undefined) return thaw(volume, index, node);
      throw new CopiesError("frozen", here.name, `copy ${index} is frozen where it is; resume it without a TARGET`);
    }
    refuseFrozen(volume);
    if (node !== undefined && here?.suspendedNode !== node)
      throw new CopiesError("not-begun", `copy '${copy}'`, `node ${node} of copy ${index} is not suspended`);
    await bringBack(volume, caretaker, index, { noAnchor: noAnchor ?? false, ...(target !== undefined && { target }) });
  },
  { whileFrozen: true },
);
