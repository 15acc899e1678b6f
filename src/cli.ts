#!/usr/bin/env node
// The h2ts command. Each verb is in a file of src/cli, those that are much alike together.

import { Command, CommanderError } from "commander";
import { leave } from "./base/leave.ts";
import { surviveOutputErrors } from "./base/output.ts";
import { UsageError } from "./base/usage-error.ts";
import { addDetach } from "./cli/detach.ts";
import { addExport } from "./cli/export.ts";
import { reportFailure, reportOutput } from "./cli/failure.ts";
import { addMount } from "./cli/mount.ts";
import { addOffline } from "./cli/offline.ts";
import { addOnline } from "./cli/online.ts";
import { addResolve } from "./cli/resolve.ts";
import { addResume } from "./cli/resume.ts";
import { addSelectMaster } from "./cli/select-master.ts";
import { addStatus } from "./cli/status.ts";
import { addSuspend } from "./cli/suspend.ts";
import { addSync } from "./cli/sync.ts";
import { addUmount } from "./cli/umount.ts";
import { packageVersion } from "./cli/version.ts";
import { addUpgrade } from "./cli/upgrade.ts";
import { addWait } from "./cli/wait.ts";
import { addMembers } from "./cli/attach.ts";
import { addProperties } from "./cli/properties.ts";
import { addScrub } from "./cli/scrub.ts";

const program = new Command("h2ts")
  .description("Mount and look after h2ts volumes.")
  .version(packageVersion(), "-V, --version")
  .exitOverride()
  .configureOutput({ writeErr: () => {} });
// Each verb is made by the program, so that it inherits the settings above.
const VERBS = [
  ...[addMount, addUmount, addSync, addStatus],
  ...[addMembers, addDetach, addScrub, addProperties],
  ...[addOffline, addOnline, addSuspend, addResume, addSelectMaster, addWait],
  ...[addResolve, addUpgrade, addExport],
];
for (const add of VERBS) add(program);

/** What was wrong with the words, and where to read on. */
function usageLine(message: string, verb: string | undefined): string {
  if (verb === "resync") {
    return "a resync begins by itself when a copy returns (h2ts online DIR COPY) or at the next mount; without a mount: fsck.h2ts --resync TARGET...";
  }
  const line = message.replace(/^error: /, "").replace(/\.$/, "");
  const known = program.commands.some((command) => command.name() === verb);
  return `${line}; see h2ts ${known ? `${verb} ` : ""}--help`;
}

surviveOutputErrors();
try {
  if (process.argv.length <= 2) program.outputHelp();
  else await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) process.exitCode = reportFailure("h2ts", error);
  else if (error.exitCode !== 0) {
    process.exitCode = reportFailure("h2ts", new UsageError(usageLine(error.message, process.argv[2])));
  }
}
await reportOutput("h2ts");
await leave();
