// h2ts resume: bring back a copy that was suspended, or a node of it.

import type { Command } from "commander";
import { callVerb, type VerbFlags } from "./call-verb.ts";

export function addResume(program: Command): void {
  program
    .command("resume")
    .description("bring back a copy that was suspended, whole or one node of it; let one that was frozen go on")
    .usage("[-j] DIR COPY[/NODE]")
    .argument("<DIR>", "the mount point")
    .argument("<COPY[/NODE]>", "the copy's index, or the beginning of its UUID; and a node's position in its row")
    .option("-j, --json", "print the state afterwards as JSON")
    .action((directory: string, copy: string, flags: VerbFlags) =>
      callVerb(directory, { verb: "resume", args: { copy } }, flags),
    );
}
