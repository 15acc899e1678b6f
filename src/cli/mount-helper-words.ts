// The words of mount.h2ts as mount(8) gives them: options may stand before or after SPEC and DIR. Throws UsageError with one line
// that names what is wrong.

import { statSync } from "node:fs";
import { parseArgs } from "node:util";
import { messageOf } from "../base/thrown.ts";
import { UsageError } from "../base/usage-error.ts";

const USAGE = "usage: mount.h2ts SPEC DIR [-sfnv] [-o OPTIONS]   (SPEC: the targets of the copies, joined by commas)";

export const HELP = `${USAGE}

  -o, --options OPTIONS      mount options, separated by commas; h2ts mount --help lists them
  -r, --read-only            the same as -o ro
  -w, --read-write           read and write (default)
  -s, --sloppy               pass over options that nobody knows
  -f, --fake                 look whether everything fits together, and mount nothing
  -N, --namespace NAMESPACE  refused, unless it is the mount namespace that this runs in
  -t, --type TYPE            nothing: mount(8) says what it was asked for
  -n, --no-mtab              nothing: there is no /etc/mtab to be left alone
  -v, --verbose              nothing
  -V, --version              output the version number
      --help                 display this help`;

export const HELPER_OPTIONS = {
  options: { type: "string", short: "o", multiple: true },
  "read-only": { type: "boolean", short: "r" },
  "read-write": { type: "boolean", short: "w" },
  sloppy: { type: "boolean", short: "s" },
  fake: { type: "boolean", short: "f" },
  namespace: { type: "string", short: "N" },
  type: { type: "string", short: "t" },
  "no-mtab": { type: "boolean", short: "n" },
  verbose: { type: "boolean", short: "v" },
} as const;

export interface HelperWords {
  readonly spec: string;
  readonly directory: string;
  readonly options: readonly string[];
  readonly dryRun: boolean;
  readonly sloppy: boolean;
}

export function parseHelperWords(words: readonly string[]): HelperWords {
  let parsed;
  try {
    parsed = parseArgs({ args: [...words], allowPositionals: true, options: HELPER_OPTIONS });
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
