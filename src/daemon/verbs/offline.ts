// offline: a copy is taken out of use until the operator brings it back.

import { z } from "zod";
import { copyNamed, membersOf } from "../../copies/copy-name.ts";
import { takeOut } from "../../walk/take-out.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ copy: z.string() });

export const offline = defineVerb(Args, ({ volume, caretaker }, { copy }) => {
  const index = copyNamed(copy, membersOf(volume.rootImage.view));
  return takeOut(volume, caretaker, index, { lasting: true });
});
