// Every command fails in the same way: one line on stderr that names the thing, and the exit code mount(8) documents.

import { outputFailure } from "../base/output.ts";
import { lineOf } from "../base/thrown.ts";
import { UsageError } from "../base/usage-error.ts";
import { MountExit } from "../daemon/messages.ts";
import { MountError } from "../daemon/start-mount.ts";

/** Prints the failure of `command` and returns its exit code. */
export function reportFailure(command: string, error: unknown): number {
  process.stderr.write(`${command}: ${lineOf(error)}\n`);
  if (error instanceof UsageError) return MountExit.USAGE;
  return error instanceof MountError ? error.exitCode : MountExit.FAILURE;
}

/** Says when what `command` printed could not be written, which is a failure where nothing else was. Resolves when all is out. */
export async function reportOutput(command: string): Promise<void> {
  const failure = await outputFailure();
  if (failure === undefined) return;
  process.stderr.write(`${command}: ${failure}\n`);
  process.exitCode ||= MountExit.SYSTEM;
}

/** Says what the operator should know although the command succeeded, a line each. */
export function printWarnings(command: string, warnings: readonly string[]): void {
  for (const warning of warnings) process.stderr.write(`${command}: warning: ${warning}\n`);
}
