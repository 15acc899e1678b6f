// h2ts online: brings a copy back that failed, was missing or was taken out; it is caught up with what it missed.

import type { Command } from "commander";
import { callVerb, type VerbFlags } from "./call-verb.ts";
import { resolveTarget } from "./mount-preparation.ts";

interface Flags extends VerbFlags {
  /** Commander's form of --no-anchor. */
  readonly anchor: boolean;
}

const HELP = `
Without TARGET the copy is looked for where it was last. While it is caught up, its last complete state is kept on it, so
that it could be the master if all others were lost; --no-anchor gives that up when there is no room for both.`;

export function addOnline(program: Command): void {
  program
    .command("online")
    .description("bring back a copy that failed, was missing or was taken out")
    .usage("[-j] [--no-anchor] DIR COPY [TARGET]")
    .argument("<DIR>", "the mount point")
    .argument("<COPY>", "the copy's index, or the beginning of its UUID")
    .argument("[TARGET]", "where it is now, if not where it was")
    .option("--no-anchor", "do not keep the copy's last complete state while it is caught up")
    .option("-j, --json", "print the state afterwards as JSON")
    .addHelpText("after", HELP)
    .action((directory: string, copy: string, target: string | undefined, flags: Flags) => {
      const args = { copy, noAnchor: !flags.anchor, ...(target !== undefined && { target: resolveTarget(target) }) };
      return callVerb(directory, { verb: "online", args }, flags);
    });
}
