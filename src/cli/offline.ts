// h2ts offline: take a copy out of use until h2ts online.

import type { Command } from "commander";
import { addCopyVerb } from "./copy-verb.ts";

export function addOffline(program: Command): void {
  addCopyVerb(program, "offline", "take a copy out of use until h2ts online");
}
