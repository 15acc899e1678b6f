#!/usr/bin/env node
// mount.h2ts, also installed as mount.fuse.h2ts: what mount(8) and fstab call. SPEC is the targets joined by commas.
// Prints nothing on success, but a warning when a copy is missing; exit codes after mount(8).

import { surviveOutputErrors } from "../base/output.ts";
import { UsageError } from "../base/usage-error.ts";
import { targetsOf } from "../copies/target-nodes.ts";
import { MountExit } from "../daemon/messages.ts";
import { allWords } from "../daemon/mount-options.ts";
import { mountOptionsHelp } from "../daemon/mount-options-text.ts";
import { parseMountOptions } from "../daemon/parse-mount-options.ts";
import { startDetached } from "../daemon/start-mount.ts";
import { printWarnings, reportFailure, reportOutput } from "./failure.ts";
import { HELP, parseHelperWords } from "./mount-helper-words.ts";
import { prepareMount } from "./mount-preparation.ts";
import { remount } from "./remount.ts";
import { packageVersion } from "./version.ts";

async function main(): Promise<void> {
  if (process.argv.includes("-V") || process.argv.includes("--version")) return console.log(packageVersion());
  if (process.argv.includes("--help")) return console.log(`${HELP}\n\n${mountOptionsHelp()}`);
  const { spec, directory, options: texts, dryRun, sloppy } = parseHelperWords(process.argv.slice(2));
  const options = parseMountOptions(texts, sloppy);
  // mount(8) says all that the mount is to be.
  if (options.remount) return dryRun ? undefined : remount(directory, allWords(options));
  const targets = targetsOf(spec).filter((target) => target !== "");
  if (targets.length === 0) throw new UsageError("SPEC names no target; see mount.h2ts --help");
  const request = await prepareMount(targets, directory, options, spec);
  if (!dryRun) printWarnings("mount.h2ts", await startDetached(request));
}

surviveOutputErrors();
try {
  await main();
  process.exitCode = MountExit.OK;
} catch (error) {
  process.exitCode = reportFailure("mount.h2ts", error);
}
await reportOutput("mount.h2ts");
