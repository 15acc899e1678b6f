// Verbs that are told a copy of a mounted volume, and nothing else.

import type { Command } from "commander";
import { callVerb, type VerbFlags } from "./call-verb.ts";

/** Adds one to `program`. `takesNode`: a node of the copy's row may be named instead. */
export function addCopyVerb(program: Command, verb: string, description: string, { takesNode = false } = {}): void {
  const what = takesNode ? "COPY[/NODE]" : "COPY";
  const copy = "the copy's index, or the beginning of its UUID";
  program
    .command(verb)
    .description(description)
    .usage(`[-j] DIR ${what}`)
    .argument("<DIR>", "the mount point")
    .argument(`<${what}>`, takesNode ? `${copy}; and a node's position in its row` : copy)
    .option("-j, --json", "print the state afterwards as JSON")
    .action((directory: string, name: string, flags: VerbFlags) =>
      callVerb(directory, { verb, args: { copy: name } }, flags),
    );
}
