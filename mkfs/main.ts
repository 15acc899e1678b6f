#!/usr/bin/env node
// mkfs.h2ts: looks at everything first, changes something only when all of it is fit. Exit code 0, or 1 with one line.

import { outputFailure, surviveOutputErrors } from "../src/base/output.ts";
import { lineOf } from "../src/base/thrown.ts";
import { packageVersion } from "../src/cli/version.ts";
import { format } from "./format.ts";
import { parseOptions } from "./options.ts";
import { planTargets } from "./plan.ts";
import { summaryText } from "./summary.ts";
import { SystemRandom } from "../src/base/random.ts";
import { randomUuid } from "../src/base/uuid.ts";

/** What is said about it then matters less. */
let isMade = false;

surviveOutputErrors();
try {
  const options = parseOptions(process.argv.slice(2), packageVersion());
  if (options) {
    const plan = await planTargets(options);
    const random = new SystemRandom();
    const volumeUuid = options.uuid ?? randomUuid(random);
    if (!options.dryRun) await format(options, plan, volumeUuid, random);
    isMade = !options.dryRun;
    if (!options.quiet) console.log(summaryText(options, volumeUuid, plan));
  }
} catch (error) {
  console.error(`mkfs.h2ts: ${lineOf(error)}`);
  process.exitCode = 1;
}
const failure = await outputFailure();
if (failure !== undefined) {
  console.error(`mkfs.h2ts: ${failure}`);
  if (!isMade) process.exitCode = 1;
}
