// h2ts suspend: take a copy out of use until h2ts resume or the next mount.

import type { Command } from "commander";
import { callVerb, type VerbFlags } from "./call-verb.ts";

export function addSuspend(program: Command): void {
  program
    .command("suspend")
    .description("take a copy out of use until h2ts resume or the next mount")
    .usage("[-j] DIR COPY")
    .argument("<DIR>", "the mount point")
    .argument("<COPY>", "the copy's index, or the beginning of its UUID")
    .option("-j, --json", "print the state afterwards as JSON")
    .action((directory: string, copy: string, flags: VerbFlags) =>
      callVerb(directory, { verb: "suspend", args: { copy } }, flags),
    );
}
