// The programs of this build, for benches that run them as a user would.

import { fileURLToPath } from "node:url";
import type { StatusReport } from "../src/cli/status-report.ts";
import { type Outcome, run } from "./process.ts";

/** Where a program lies, by its path in the build: the bench is compiled beside it. */
export const script = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

export const H2TS = script("src/cli.js");

export const h2ts = (...words: string[]): Promise<Outcome> => run(process.execPath, [H2TS, ...words]);

export const mkfs = (...words: string[]): Promise<Outcome> =>
  run(process.execPath, [script("mkfs/main.js"), "-q", ...words]);

/** The processes of a mount. */
export async function daemonOf(directory: string): Promise<NonNullable<StatusReport["daemon"]>> {
  const { daemon } = JSON.parse((await h2ts("status", "-j", directory)).stdout) as StatusReport;
  if (daemon === undefined) throw new Error(`${directory}: nothing is mounted here`);
  return daemon;
}
