#!/usr/bin/env node
// mount.h2ts, also installed as mount.fuse.h2ts: what mount(8) and fstab call. SPEC is the targets joined by commas.
// Options may stand before or after SPEC and DIR. Prints nothing on success, but a warning when a copy is
// missing; exit codes after mount(8).

import { statSync } from "node:fs";
import { parseArgs } from "node:util";
import { surviveOutputErrors } from "../base/output.ts";
import { messageOf } from "../base/thrown.ts";
import { UsageError } from "../base/usage-error.ts";
import { targetsOf } from "../copies/target-nodes.ts";
import { MountExit } from "../daemon/messages.ts";
import { allWords } from "../daemon/mount-options.ts";
import { mountOptionsHelp } from "../daemon/mount-options-text.ts";
import { parseMountOptions } from "../daemon/parse-mount-options.ts";
import { startDetached } from "../daemon/start-mount.ts";
import { printWarnings, reportFailure, reportOutput } from "./failure.ts";
import { prepareMount } from "./mount-preparation.ts";
import { remount } from "./remount.ts";
import { packageVersion } from "./version.ts";

const USAGE = "usage: mount.h2ts SPEC DIR [-sfnv] [-o OPTIONS]   (SPEC: the targets of the copies, joined by commas)";

interface Words {
  readonly spec: string;
  readonly directory: string;
  readonly options: readonly string[];
  readonly dryRun: boolean;
  readonly sloppy: boolean;
}

function parseWords(words: readonly string[]): Words {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...words],
      allowPositionals: true,
      options: {
        options: { type: "string", short: "o", multiple: true },
        type: { type: "string", short: "t" },
        namespace: { type: "string", short: "N" },
        sloppy: { type: "boolean", short: "s" },
        fake: { type: "boolean", short: "f" },
        "no-mtab": { type: "boolean", short: "n" },
        verbose: { type: "boolean", short: "v" },
        "read-only": { type: "boolean", short: "r" },
        "read-write": { type: "boolean", short: "w" },
      },
    });
  } catch (error) {
    throw new UsageError(`${messageOf(error).split(". ")[0]}; ${USAGE}`);
  }
  const { values, positionals } = parsed;
  if (values.namespace !== undefined && !isOurs(values.namespace))
    throw new UsageError(`-N ${values.namespace}: mounts in its own namespace only; run it there (nsenter)`);
  const [spec, directory, ...rest] = positionals;
  if (spec === undefined || directory === undefined || rest.length > 0) throw new UsageError(USAGE);
  const options = [...(values.options ?? []), ...(values["read-only"] ? ["ro"] : [])];
  return { spec, directory, options, dryRun: values.fake ?? false, sloppy: values.sloppy ?? false };
}

/** Whether a mount namespace, by a process in it or by its file, is the one that this program is in. */
function isOurs(namespace: string): boolean {
  const path = /^\d+$/.test(namespace) ? `/proc/${namespace}/ns/mnt` : namespace;
  const [given, own] = [path, "/proc/self/ns/mnt"].map((each) => statSync(each, { throwIfNoEntry: false }));
  return given !== undefined && given.dev === own?.dev && given.ino === own.ino;
}

async function main(): Promise<void> {
  if (process.argv.includes("-V") || process.argv.includes("--version")) return console.log(packageVersion());
  if (process.argv.includes("--help")) return console.log(`${USAGE}\n\n${mountOptionsHelp()}`);
  const { spec, directory, options: texts, dryRun, sloppy } = parseWords(process.argv.slice(2));
  const options = parseMountOptions(texts, sloppy);
  // mount(8) says all that the mount is to be.
  if (options.remount) return dryRun ? undefined : remount(directory, allWords(options));
  const targets = targetsOf(spec).filter((target) => target !== "");
  if (targets.length === 0) throw new UsageError(USAGE);
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
