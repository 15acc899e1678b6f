// select-master: the copy that metadata is read from, now and at later mounts.

import { z } from "zod";
import { copyNamed, membersOf } from "../../copies/copy-name.ts";
import { CopiesError } from "../../copies/errors.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ copy: z.string() });

export const selectMaster = defineVerb(Args, async ({ volume }, { copy }) => {
  const index = copyNamed(copy, membersOf(volume.rootImage.view));
  const chosen = volume.copies.copy(index);
  if (chosen === undefined)
    throw new CopiesError("missing-copy", `copy ${index}`, "is not here; bring it online first");
  await volume.changeMembers(() => volume.members.selectMaster(chosen));
});
