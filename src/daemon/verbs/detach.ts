// detach: a copy leaves the volume for good; what the tree says of it is cleared in the background.

import { z } from "zod";
import { copyNamed, membersOf } from "../../copies/copy-name.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ copy: z.string() });

export const detach = defineVerb(Args, ({ volume, caretaker }, { copy }) =>
  caretaker.detach(copyNamed(copy, membersOf(volume.rootImage.view))),
);
