// h2ts suspend: take a copy, or a node of one, out of use until h2ts resume or the next mount.

import type { Command } from "commander";
import { callVerb, type VerbFlags } from "./call-verb.ts";

interface Flags extends VerbFlags {
  readonly freeze?: boolean;
}

const HELP = `
With a NODE, its position in the row as h2ts status -v shows it, only that node's device is let go of. The copy is out of
sync either way, and caught up when it is resumed. One that the volume can't do without is refused; with --freeze it
stays in sync, and whatever needs it waits, without failing, until it is resumed or the volume unmounted.`;

export function addSuspend(program: Command): void {
  program
    .command("suspend")
    .description("take a copy, or a node of one, out of use until h2ts resume or the next mount")
    .usage("[-j] [--freeze] DIR COPY[/NODE]")
    .argument("<DIR>", "the mount point")
    .argument("<COPY[/NODE]>", "the copy's index, or the beginning of its UUID; and a node's position in its row")
    .option("--freeze", "if the volume can't do without it, let operations that need it wait")
    .option("-j, --json", "print the state afterwards as JSON")
    .addHelpText("after", HELP)
    .action((directory: string, copy: string, flags: Flags) =>
      callVerb(directory, { verb: "suspend", args: { copy, freeze: flags.freeze ?? false } }, flags),
    );
}
