// online, resume: a copy that was out of use comes back and is caught up.

import { z } from "zod";
import { copyNamed, membersOf } from "../../copies/copy-name.ts";
import { bringBack } from "../../walk/bring-back.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ copy: z.string(), target: z.string().optional(), noAnchor: z.boolean().optional() });

export const online = defineVerb(Args, async ({ volume, caretaker }, { copy, target, noAnchor }) => {
  const index = copyNamed(copy, membersOf(volume.rootImage.view));
  await bringBack(volume, caretaker, index, { noAnchor: noAnchor ?? false, ...(target !== undefined && { target }) });
});
