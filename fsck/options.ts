// The command line of fsck.h2ts, as fsck(8) and people give it. Throws UsageError with one line that names what is wrong.

import { Command, CommanderError } from "commander";
import { messageOf } from "../src/base/thrown.ts";
import { UsageError } from "../src/base/usage-error.ts";
import { nodesOf, targetsOf } from "../src/copies/target-nodes.ts";
import type { RepairMode } from "./repair.ts";

export interface CommandOptions {
  readonly repair: RepairMode | undefined;
  readonly force: boolean;
  /** Give up what no copy can read where nothing else helps. */
  readonly abandon: boolean;
  readonly progress: boolean;
  readonly json: boolean;
  /** Instead of a check: catch up every copy at hand. */
  readonly resync: boolean;
  /** The copy, as people name it, whose last complete state becomes the volume's. */
  readonly selectMaster: string | undefined;
  readonly targets: readonly string[];
}

const EPILOGUE = `
TARGETs are the images or devices of all copies, NODE+NODE for a copy on several nodes; joined by commas they may be one word.
Without -n, -p or -y nothing is changed, as with -n. A volume that was unmounted and seems sound is only looked at lightly
unless -f is given: headers, root rings, log, PFS block, unfinished removals.

-y --abandon, which implies -f, gives up inodes and parts of directories that no copy can read: their names go, and what loses its name
thereby gets one in lost+found. All copies must be given. Files with lost data stay, with what they still hold, until they are deleted.

--resync catches copies up without a mount; targets that are not there are left out. --select-master COPY, which implies it,
makes COPY's last complete state the volume's, whatever the other copies have: what only they know is lost.

Exit code, bits added up: 0 clean, 1 errors corrected, 4 errors left, 8 could not check, 16 wrong usage, 32 cancelled.`;

/** Reads the words after the command's name; undefined when only help or the version was asked for (and printed). */
export function parseOptions(words: readonly string[], version: string): CommandOptions | undefined {
  const command = new Command("fsck.h2ts")
    .description("Checks an h2ts volume on all of its copies, and repairs it.")
    .usage("[-n|-p|-y [--abandon]] [-f] [-C] [-j] TARGET... | --resync [--select-master COPY] TARGET...")
    .argument("<TARGET...>")
    .option("-n", "change nothing, only tell (default)")
    .option("-p", "repair what is safe to repair, without questions")
    .option("-a", "the same as -p")
    .option("-y", "repair all that can be repaired")
    .option("--abandon", "with -y: give up inodes and parts of directories that no copy can read")
    .option("-f", "check everything even if the volume seems sound")
    .option("-C", "show a progress bar")
    .option("--resync", "do not check, but bring every copy given what it lacks")
    .option(
      "--select-master <COPY>",
      "go back to what this copy (index, or beginning of its UUID) last held completely",
    )
    .option("-j", "print the outcome as JSON")
    .version(version, "-V, --version")
    .addHelpText("after", EPILOGUE)
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  try {
    // fsck(8) hands on -C with a file descriptor's number; the bar goes to stderr in any case.
    command.parse(
      words.map((word) => (/^-C\d+$/.test(word) ? "-C" : word)),
      { from: "user" },
    );
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return undefined;
    throw new UsageError(`${error.message.replace(/^error: /, "").replaceAll("\n", " ")}; see fsck.h2ts --help`);
  }
  const given = command.opts<Record<string, boolean | undefined> & { selectMaster?: string }>();
  const safe = given["p"] === true || given["a"] === true;
  const full = given["y"] === true;
  if (Number(given["n"] === true) + Number(safe) + Number(full) > 1) {
    throw new UsageError("give only one of -n, -p and -y");
  }
  const abandon = given["abandon"] === true;
  if (abandon && !full) throw new UsageError("--abandon: goes with -y");
  const resync = given["resync"] === true || given.selectMaster !== undefined;
  if (resync && (given["n"] === true || safe || full || given["f"] === true)) {
    throw new UsageError("--resync does not check: give it without -n, -p, -y and -f");
  }
  const targets = command.args.flatMap(targetsOf);
  if (targets.includes("")) throw new UsageError("a TARGET is empty");
  refuseMisnamed(targets);
  return {
    repair: full ? "full" : safe ? "safe" : undefined,
    force: given["f"] === true || abandon,
    abandon,
    progress: given["C"] === true,
    json: given["j"] === true,
    resync,
    selectMaster: given.selectMaster,
    targets,
  };
}

/** Before any is opened: of a name that is not UTF-8 only another one is known, which would be said not to be there. */
function refuseMisnamed(targets: readonly string[]): void {
  try {
    for (const target of targets) nodesOf(target);
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}
