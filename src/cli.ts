#!/usr/bin/env node
// The h2ts command: src/cli/program.ts has its verbs.

import { CommanderError } from "commander";
import { leave } from "./base/leave.ts";
import { surviveOutputErrors } from "./base/output.ts";
import { UsageError } from "./base/usage-error.ts";
import { reportFailure, reportOutput } from "./cli/failure.ts";
import { h2tsProgram } from "./cli/program.ts";

const program = h2tsProgram();

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
