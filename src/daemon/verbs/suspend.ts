// suspend: a copy is taken out of use for a while; it comes back at the next mount, or with resume.

import { z } from "zod";
import { copyNamed, membersOf } from "../../copies/copy-name.ts";
import { takeOut } from "../../walk/take-out.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ copy: z.string() });

export const suspend = defineVerb(Args, ({ volume, caretaker }, { copy }) => {
  const index = copyNamed(copy, membersOf(volume.rootImage.view));
  return takeOut(volume, caretaker, index, { lasting: false });
});
