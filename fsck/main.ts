#!/usr/bin/env node
// fsck.h2ts: opens the targets (locked, so never under a mount), runs fsck, prints what it says, exits with fsck(8)'s bits.

import { SystemClock } from "../src/base/clock.ts";
import { leave, leaveAtOnce } from "../src/base/leave.ts";
import { outputFailure, surviveOutputErrors } from "../src/base/output.ts";
import { lineOf } from "../src/base/thrown.ts";
import { UsageError } from "../src/base/usage-error.ts";
import { ensureThreadsFor } from "../src/cli/thread-pool.ts";
import { packageVersion } from "../src/cli/version.ts";
import { assemble, assembleCopies, letGo } from "../src/copies/assemble.ts";
import { copyNamed } from "../src/copies/copy-name.ts";
import { isSyntax } from "../src/copies/errors.ts";
import { OPEN_MS_DEFAULT, openTargets } from "../src/copies/targets.ts";
import { type CommandOptions, parseOptions } from "./options.ts";
import { ExitBit, fsckVolume } from "./fsck.ts";
import { startProgress, startResyncProgress } from "./progress.ts";
import { reportLines, reportObject } from "./report.ts";
import { resyncVolume } from "./resync.ts";
import { usedBytes } from "./used-bytes.ts";

async function run(options: CommandOptions, signal: AbortSignal): Promise<number> {
  const readOnly = options.repair === undefined;
  const clock = new SystemClock();
  const limit = { clock, ms: OPEN_MS_DEFAULT };
  const opened = await openTargets(options.targets, { writable: !readOnly, limit });
  const copies = await assembleCopies(opened, { readOnly, clock, openMs: limit.ms }).catch(async (error: unknown) => {
    await letGo(opened, error);
    throw error;
  });
  try {
    const devices = opened.flatMap((target) => target.devices);
    const progress = options.progress ? startProgress(await usedBytes(copies)) : undefined;
    try {
      const outcome = await fsckVolume(
        { copies, devices },
        {
          force: options.force,
          abandon: options.abandon,
          clock,
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
    await copies.close();
  }
}

/** Catches copies up; see fsck/resync.ts. */
async function resync(options: CommandOptions, signal: AbortSignal): Promise<number> {
  const copies = await assemble(options.targets, { lenient: true, openMs: OPEN_MS_DEFAULT });
  for (const line of copies.absent) console.error(`fsck.h2ts: left out: ${line}`);
  const { selectMaster } = options;
  const progress = startResyncProgress();
  try {
    const forced = selectMaster === undefined ? {} : { forcedMaster: copyNamed(selectMaster, copies.copies) };
    const outcome = await resyncVolume(copies, {
      clock: copies.clock,
      signal,
      ...forced,
      ...(progress && { onProgress: progress.onProgress }),
    });
    progress?.stop();
    if (options.json) console.log(JSON.stringify(outcome, undefined, 2));
    else for (const line of outcome.lines) console.log(line);
    return outcome.exitCode;
  } finally {
    progress?.stop();
    await copies.close();
  }
}

const cancel = new AbortController();
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => {
    // What is under way may never end: who asks again does not wait for it.
    if (cancel.signal.aborted) {
      process.exitCode = ExitBit.CANCELLED;
      leaveAtOnce();
    }
    cancel.abort();
  });
}

surviveOutputErrors();
try {
  const options = parseOptions(process.argv.slice(2), packageVersion());
  if (options) ensureThreadsFor(options.targets);
  if (options) process.exitCode = await (options.resync ? resync : run)(options, cancel.signal);
} catch (error) {
  if (cancel.signal.aborted) {
    console.error("fsck.h2ts: cancelled");
    process.exitCode = ExitBit.CANCELLED;
  } else {
    console.error(`fsck.h2ts: ${lineOf(error)}`);
    const isUsage = error instanceof UsageError || isSyntax(error);
    process.exitCode = isUsage ? ExitBit.USAGE : ExitBit.OPERATIONAL;
  }
}
const failure = await outputFailure();
if (failure !== undefined) {
  console.error(`fsck.h2ts: ${failure}`);
  process.exitCode = Number(process.exitCode ?? ExitBit.CLEAN) | ExitBit.OPERATIONAL;
}
await leave();
