// h2ts scrub: read every block of every copy, and repair what is bad.

import type { Command } from "commander";
import { MountExit } from "../daemon/messages.ts";
import { MountError } from "../daemon/start-mount.ts";
import { callVerb, type VerbFlags } from "./call-verb.ts";

interface ScrubFlags extends VerbFlags {
  readonly pause?: boolean;
  readonly resume?: boolean;
  readonly cancel?: boolean;
}

export function addScrub(program: Command): void {
  program
    .command("scrub")
    .description("read every block of every copy, and repair what is bad")
    .usage("[-p|-r|-c] [-j] DIR")
    .argument("<DIR>", "the mount point")
    .option("-p, --pause", "pause the scrub under way")
    .option("-r, --resume", "go on with one that was paused")
    .option("-c, --cancel", "give it up")
    .option("-j, --json", "print the state afterwards as JSON")
    .action((directory: string, flags: ScrubFlags) => {
      const asked = (["pause", "resume", "cancel"] as const).filter((action) => flags[action] === true);
      if (asked.length > 1) throw new MountError("give one of -p, -r and -c", MountExit.USAGE);
      return callVerb(directory, { verb: "scrub", args: { action: asked[0] ?? "start" } }, flags);
    });
}
