// h2ts clear: has error counts begin anew, once what led to them was seen to.

import type { Command } from "commander";
import { callVerb, type VerbFlags } from "./call-verb.ts";

const HELP = `
READ, WRITE and CKSUM of h2ts status, and the blocks repaired, are 0 then; without COPY those of all copies, and the data errors met so
far. The state of a copy stays. What is still bad is counted again as soon as it is met: h2ts scrub reads every block.`;

export function addClear(program: Command): void {
  program
    .command("clear")
    .description("count the errors of copies anew from 0")
    .usage("[-j] DIR [COPY]")
    .argument("<DIR>", "the mount point")
    .argument("[COPY]", "the copy's index, or the beginning of its UUID; all copies unless given")
    .option("-j, --json", "print the state afterwards as JSON")
    .addHelpText("after", HELP)
    .action((directory: string, copy: string | undefined, flags: VerbFlags) =>
      callVerb(directory, { verb: "clear", args: copy === undefined ? {} : { copy } }, flags),
    );
}
