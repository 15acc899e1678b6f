// h2ts resume: bring back a copy that was suspended, or a node of it.

import type { Command } from "commander";
import { addCopyVerb } from "./copy-verb.ts";

const DESCRIPTION = "bring back a copy that was suspended, whole or one node of it; let one that was frozen go on";

export function addResume(program: Command): void {
  addCopyVerb(program, "resume", DESCRIPTION, { takesNode: true });
}
