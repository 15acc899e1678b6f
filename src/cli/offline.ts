// h2ts offline: take a copy out of use until h2ts online.

import type { Command } from "commander";
import { callVerb, type VerbFlags } from "./call-verb.ts";

export function addOffline(program: Command): void {
  program
    .command("offline")
    .description("take a copy out of use until h2ts online")
    .usage("[-j] DIR COPY")
    .argument("<DIR>", "the mount point")
    .argument("<COPY>", "the copy's index, or the beginning of its UUID")
    .option("-j, --json", "print the state afterwards as JSON")
    .action((directory: string, copy: string, flags: VerbFlags) =>
      callVerb(directory, { verb: "offline", args: { copy } }, flags),
    );
}
