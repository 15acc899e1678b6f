// h2ts select-master: read metadata from this copy, now and at later mounts.

import type { Command } from "commander";
import { callVerb, type VerbFlags } from "./call-verb.ts";

export function addSelectMaster(program: Command): void {
  program
    .command("select-master")
    .description("read metadata from this copy, now and at later mounts")
    .usage("[-j] DIR COPY")
    .argument("<DIR>", "the mount point")
    .argument("<COPY>", "the copy's index, or the beginning of its UUID")
    .option("-j, --json", "print the state afterwards as JSON")
    .action((directory: string, copy: string, flags: VerbFlags) =>
      callVerb(directory, { verb: "select-master", args: { copy } }, flags),
    );
}
