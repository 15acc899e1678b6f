// h2ts detach: a volume gets a copy less.

import type { Command } from "commander";
import { addCopyVerb } from "./copy-verb.ts";

export function addDetach(program: Command): void {
  addCopyVerb(program, "detach", "take a copy out of the volume for good");
}
