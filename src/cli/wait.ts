// h2ts wait: returns when the work in the background of a mount is done.

import type { Command } from "commander";
import { UsageError } from "../base/usage-error.ts";
import { ACTIVITIES } from "../daemon/messages.ts";
import { callVerb, type VerbFlags } from "./call-verb.ts";

export function addWait(program: Command): void {
  program
    .command("wait")
    .description("return when a resync, detach or scrub is done; fails when one did not reach its end")
    .usage("[-j] [-t ACTIVITY,...] DIR")
    .argument("<DIR>", "the mount point")
    .option("-t, --types <ACTIVITIES>", `what to wait for: ${ACTIVITIES.join(", ")}`, ACTIVITIES.join(","))
    .option("-j, --json", "print the state afterwards as JSON")
    .action((directory: string, flags: VerbFlags & { readonly types: string }) => {
      const activities = flags.types.split(",");
      const unknown = activities.find((word) => !ACTIVITIES.some((known) => known === word));
      if (unknown !== undefined) throw new UsageError(`-t '${unknown}': takes ${ACTIVITIES.join(", ")}`);
      return callVerb(directory, { verb: "wait", args: { activities } }, flags);
    });
}
