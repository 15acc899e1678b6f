// h2ts resume: bring back a copy that was suspended.

import type { Command } from "commander";
import { callVerb, type VerbFlags } from "./call-verb.ts";

export function addResume(program: Command): void {
  program
    .command("resume")
    .description("bring back a copy that was suspended")
    .usage("[-j] DIR COPY")
    .argument("<DIR>", "the mount point")
    .argument("<COPY>", "the copy's index, or the beginning of its UUID")
    .option("-j, --json", "print the state afterwards as JSON")
    .action((directory: string, copy: string, flags: VerbFlags) =>
      callVerb(directory, { verb: "resume", args: { copy } }, flags),
    );
}
