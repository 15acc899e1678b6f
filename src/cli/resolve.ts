// h2ts resolve: two copies of a volume that is not mounted went different ways (I6); shows both histories, or gives one up.

import type { Command } from "commander";
import { messageOf } from "../base/thrown.ts";
import { UsageError } from "../base/usage-error.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { exitCodeOf } from "../daemon/exit-code.ts";
import { MountError } from "../daemon/start-mount.ts";
import { printWarnings } from "./failure.ts";
import { occupied, resolveTarget } from "./mount-preparation.ts";
import { ensureThreadsFor } from "./thread-pool.ts";

interface Flags {
  readonly keep?: string;
  readonly discard?: string;
  readonly json?: boolean;
}

/** The copies chosen, as people named them. */
interface Choice {
  readonly keep: string;
  readonly discard: string;
}

const HELP = `
Without --keep and --discard: shows the history of every copy at hand, and which went different ways; nothing is changed.
With both: what only the one discarded has is lost. At the next mount it is checked and caught up like a copy that returns.
The volume must not be mounted. A COPY is its index, or the beginning of its UUID.`;

export function addResolve(program: Command): void {
  program
    .command("resolve")
    .description("give up one of two histories after copies went different ways")
    .usage("[--keep COPY --discard COPY] [-j] TARGET...")
    .argument("<TARGET...>", "the targets of the volume's copies")
    .option("--keep <COPY>", "the copy whose history the volume goes on with")
    .option("--discard <COPY>", "the copy whose history is given up")
    .option("-j, --json", "print the histories as JSON, as they are afterwards")
    .addHelpText("after", HELP)
    .action(async (words: string[], flags: Flags) => {
      const choice = choiceOf(flags);
      const targets = words.map(resolveTarget);
      ensureThreadsFor(targets);
      const inUse = await occupied(targets);
      if (inUse !== undefined)
        throw new MountError(`${inUse.target}: is mounted on ${inUse.directory}; unmount it first`);
      try {
        await resolveTargets(targets, choice, flags.json === true);
      } catch (error) {
        throw new MountError(messageOf(error), exitCodeOf(error));
      }
    });
}

function choiceOf({ keep, discard }: Flags): Choice | undefined {
  if (keep === undefined && discard === undefined) return undefined;
  if (keep !== undefined && discard !== undefined) return { keep, discard };
  throw new UsageError("give both --keep COPY and --discard COPY, or neither to see the histories");
}

async function resolveTargets(targets: readonly string[], choice: Choice | undefined, json: boolean): Promise<void> {
  // Loaded here only: the other commands do not need the copies.
  const { assemble } = await import("../copies/assemble.ts");
  const { OPEN_MS_DEFAULT } = await import("../copies/targets.ts");
  const copies = await assemble(targets, { readOnly: choice === undefined, lenient: true, openMs: OPEN_MS_DEFAULT });
  try {
    printWarnings("h2ts", copies.absent);
    if (choice !== undefined) await giveUp(copies, choice);
    if (choice === undefined || json) await show(copies, json);
  } finally {
    await copies.close();
  }
}

async function giveUp(copies: CopySet, { keep, discard }: Choice): Promise<void> {
  const { copyNamed } = await import("../copies/copy-name.ts");
  const { resolveCopies } = await import("../volume/resolve-copies.ts");
  await resolveCopies(copies, copyNamed(keep, copies.copies), copyNamed(discard, copies.copies));
}

async function show(copies: CopySet, json: boolean): Promise<void> {
  const { readRings } = await import("../copies/ring.ts");
  const { historiesReport, historiesText } = await import("./histories.ts");
  const report = historiesReport(await readRings(copies));
  console.log(json ? JSON.stringify(report, null, 2) : historiesText(report));
}
