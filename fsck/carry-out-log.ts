// The first step of a repair where operations wait in the log. A volume is opened on what a check computed, wherever the parts on media
// are wrong; what breaks the rules in the tree is mended in memory; then the log is carried out on that, and one commit makes both
// durable. Until then root and log are as they were (I4). What of the log can't be carried out is given up only when it is asked for,
// when all that can be mended is, and when a second try ends at the same place: for a while only a block may not have been read. For the
// same reason the log is written to no place below a block that is to be given up (I3), unless that is given up by the same commit.

import { FsError } from "../src/base/errno.ts";
import { messageOf } from "../src/base/thrown.ts";
import { CopiesError, CopiesLostError, FencedError } from "../src/copies/errors.ts";
import { DeviceError } from "../src/device/device.ts";
import { Claim } from "../src/freemap/freemap.ts";
import { repair, type RepairAction } from "../src/ops/repair.ts";
import type { Volume } from "../src/volume/volume.ts";
import type { Finding } from "./finding-list.ts";
import type { LookedAt, RepairContext, RepairFailure } from "./repair-context.ts";
import { refuseFound } from "./read-again.ts";
import { mustGiveUp, planRepair, type RepairPlan } from "./rescue.ts";

/**
 * What is mended below the log, in this order: blocks that operations could not read, and sums that they go on from. The rest, names
 * and what has none above all, is told by the state that the log leads to.
 */
const MENDED_FIRST: readonly RepairAction["kind"][] = [
  "pfs",
  "root-directory",
  "replace-run",
  "replace-inode",
  "drop-xattrs",
  "entry-type",
  "fields",
];

/** Most bytes of blocks changed before the commit, which has to wait for the log: a crafted image asks for more. */
const MENDED_BYTES_MAX = 64 * 1024 * 1024;

export interface LogOutcome {
  /** What waited is in the tree now; else nothing was changed. */
  readonly isDone: boolean;
  readonly failures: readonly RepairFailure[];
}

/**
 * Carries out the log that `log` tells of. Throws, as a mount does, for what is not on the media: CopiesError, FsError EROFS when too
 * few copies are given to write to them, DeviceError and the like when they fail.
 */
export async function carryOutLog(context: RepairContext, log: Finding, look: LookedAt): Promise<LogOutcome> {
  const first = await attempt(context, log, look);
  const [failure, ...others] = first.failures;
  if (first.isDone || failure?.finding !== log || others.length > 0) return first;
  if (context.abandon) return attempt(context, log, look, failure.message);
  return first;
}

/** `abandonAt`: how the first try failed; there the log ends. */
async function attempt(
  context: RepairContext,
  log: Finding,
  { wanted, found, checked }: LookedAt,
  abandonAt?: string,
): Promise<LogOutcome> {
  const failures: RepairFailure[] = [];
  let volume: Volume;
  let dropped: string | undefined;
  try {
    const givesUp = mustGiveUp(wanted, checked);
    if (givesUp) await refuseFound(context.copies, wanted);
    const plan = givesUp
      ? planRepair(wanted, found, checked, "free")
      : planRepair(withoutGivenUp(wanted), found, checked, "in-use");
    volume = await context.openWritable({
      ...plan.rescue,
      dropLostLog: log.name === "log-lost",
      abandonLog: abandonAt !== undefined,
      // Until the commit gives it up, what lies below a block that is to be given up is called free and named all the same (I3).
      writesEarly: !givesUp,
      beforeReplay: async (opened) => {
        const isMended = await mend(opened, plan, failures);
        if (givesUp && !isMended) throw new Error("what is to be given up could not be: what is free can't be known");
      },
      onLogDropped: (count, waiting, reason) => {
        const isSame = abandonAt === undefined || abandonAt.includes(reason);
        if (!isSame) throw new Error(`${reason}, and before it was another thing: nothing is given up; check again`);
        dropped = `${log.message.replace(/; .*/s, "")}: ${count} of ${waiting} operations were given up: ${reason}`;
      },
    });
  } catch (error) {
    if (isOperational(error)) throw error;
    const advice = context.abandon ? "" : "; -y --abandon gives up what can't be";
    const message = `the log can't be carried out: ${messageOf(error)}${advice}`;
    return { isDone: false, failures: [{ finding: log, message }, ...failures] };
  }
  try {
    // Also when there was nothing to carry out: the root still names what could not be read.
    await volume.forceCommit();
  } finally {
    await volume.close();
  }
  if (dropped !== undefined) context.losses.add("log-dropped", dropped);
  return { isDone: true, failures };
}

/** Blocks of which a part is to be given up are left as they are for now: a later look may find that part. */
function withoutGivenUp(wanted: readonly Finding[]): Finding[] {
  const givenUp = new Set<unknown>();
  for (const finding of wanted) {
    if (finding.repair?.kind === "bruise" && finding.repair.givesUp !== undefined) givenUp.add(finding.repair.bruise);
  }
  if (givenUp.size === 0) return [...wanted];
  return wanted.filter((finding) => {
    if (finding.repair?.kind === "bruise") return !givenUp.has(finding.repair.bruise);
    return finding.name !== "pfs-root-directory";
  });
}

/** True when nothing of it failed, or had to wait. */
async function mend({ store, state }: Volume, { actions }: RepairPlan, failures: RepairFailure[]): Promise<boolean> {
  for (const kind of MENDED_FIRST) {
    for (const { finding, action } of actions) {
      if (action.kind !== kind) continue;
      if (store.dirtyBytes > MENDED_BYTES_MAX) return false;
      try {
        await store.untilLoaded(() => store.attempt(Claim.COMMIT, () => repair(state, action)));
      } catch (error) {
        failures.push({ finding, message: messageOf(error) });
      }
    }
  }
  return failures.length === 0;
}

function isOperational(error: unknown): boolean {
  const kinds = [CopiesError, CopiesLostError, FencedError, DeviceError];
  return kinds.some((kind) => error instanceof kind) || (error instanceof FsError && error.code === "EROFS");
}
