// h2ts select-master: read metadata from this copy, now and at later mounts.

import type { Command } from "commander";
import { addCopyVerb } from "./copy-verb.ts";

export function addSelectMaster(program: Command): void {
  addCopyVerb(program, "select-master", "read metadata from this copy, now and at later mounts");
}
