#!/usr/bin/env node
// fsck.h2ts: opens the targets (locked, so never under a mount), runs fsck, prints what it says, exits with fsck(8)'s bits.

import { SystemClock } from "../src/base/clock.ts";
import { packageVersion } from "../src/cli/version.ts";
import { assembleCopies } from "../src/copies/assemble.ts";
import { closeTargets, openTargets } from "../src/copies/targets.ts";
import { type CommandOptions, parseOptions, UsageError } from "./options.ts";
import { ExitBit, fsckVolume } from "./fsck.ts";
import { startProgress } from "./progress.ts";
import { reportLines, reportObject } from "./report.ts";
import { usedBytes } from "./used-bytes.ts";

async function run(options: CommandOptions, signal: AbortSignal): Promise<number> {
  const readOnly = options.repair === undefined;
  const opened = await openTargets(options.targets, !readOnly);
  try {
    const copies = await assembleCopies(opened, { readOnly });
    const devices = opened.flatMap((target) => target.devices);
    const progress = options.progress ? startProgress(await usedBytes(copies)) : undefined;
    try {
      const outcome = await fsckVolume(
        { copies, devices },
        {
          force: options.force,
          clock: new SystemClock(),
          signal,
          ...(options.repair && { repair: options.repair }),
          ...(progress && { onProgress: progress.onProgress }),
        },
      );
      progress?.stop();
      if (options.json) console.log(JSON.stringify(reportObject(copies, outcome), undefined, 2));
      else for (const line of reportLines(copies, outcome)) console.log(line);
      return outcome.exitCode;
    } finally {
      progress?.stop();
    }
  } finally {
    await closeTargets(opened);
  }
}

const cancel = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => cancel.abort());

try {
  const options = parseOptions(process.argv.slice(2), packageVersion());
  if (options) process.exitCode = await run(options, cancel.signal);
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  if (cancel.signal.aborted) {
    console.error("fsck.h2ts: cancelled");
    process.exitCode = ExitBit.CANCELLED;
  } else {
    console.error(`fsck.h2ts: ${message.replaceAll(/\s*\n\s*/g, " ")}`);
    process.exitCode = error instanceof UsageError ? ExitBit.USAGE : ExitBit.OPERATIONAL;
  }
}
