// One run of fsck over open copies: a light look when that is enough, a full check, repairs and checks in turn until
// nothing more can be done. Prints nothing; the command on top of it does.

import type { Clock } from "../src/base/clock.ts";
import { type Random, SystemRandom } from "../src/base/random.ts";
import type { CopySet } from "../src/copies/copy-set.ts";
import { CopiesError } from "../src/copies/errors.ts";
import { DEADLINE_MS_DEFAULT } from "../src/copies/deadline.ts";
import { Heartbeat } from "../src/copies/heartbeat.ts";
import type { BlockDevice } from "../src/device/device.ts";
import { type Checked, checkInto, checkLightly, type CheckOptions } from "./check.ts";
import { type Finding, FindingList, isClean } from "./finding-list.ts";
import { Headers } from "./headers.ts";
import { openWritable } from "./open-writable.ts";
import { contestedIn, repairable, type RepairMode, repairVolume } from "./repair.ts";
import type { RepairContext, RepairFailure } from "./repair-context.ts";
import type { IsContested } from "./repairing-reader.ts";

/** fsck(8)'s exit bits. */
export const ExitBit = { CLEAN: 0, CORRECTED: 1, UNCORRECTED: 4, OPERATIONAL: 8, USAGE: 16, CANCELLED: 32 } as const;

export interface FsckTarget {
  readonly copies: CopySet;
  /** The devices the copies lie on, whole. */
  readonly devices: readonly BlockDevice[];
}

export interface FsckOptions {
  /** Check everything even if the volume seems sound. */
  readonly force: boolean;
  readonly repair?: RepairMode;
  /** With full repair: blocks of inodes and directories that no copy can read are given up. */
  readonly abandon?: boolean;
  readonly clock: Clock;
  /** For the heartbeat; the system's unless given. */
  readonly random?: Random;
  /** Findings of one kind that are listed at most; 10,000 unless given. */
  readonly keptPerKind?: number;
  readonly onProgress?: CheckOptions["onProgress"];
  readonly signal?: AbortSignal;
}

export interface FsckOutcome {
  /** Only headers, rings and what is pending were looked at. */
  readonly light: boolean;
  /** What the first check found. */
  readonly findings: readonly Finding[];
  /** What is left after all repairs. */
  readonly left: readonly Finding[];
  readonly failures: readonly RepairFailure[];
  /** Rounds of repair that were made. */
  readonly rounds: number;
  readonly exitCode: number;
}

/**
 * A repair can bring the next fault to light: an entry removed leaves a file without a name, and so on. Not counted are rounds after
 * which less is left that found no room in the lists.
 */
const ROUNDS_MAX = 8;

interface Checking {
  readonly copies: CopySet;
  readonly headers: Headers;
}

interface Look {
  readonly findings: readonly Finding[];
  /** How many there are beyond those. */
  readonly unlisted: number;
  readonly checked: Checked | undefined;
}

/**
 * Checks, and with `repair` puts right what can be. Throws DeviceError and the like only for what is not on the media, CopiesError
 * or FsError when the log can't be carried out, because the copies given are too few, say, or when another host has the volume.
 */
export async function fsckVolume(target: FsckTarget, options: FsckOptions): Promise<FsckOutcome> {
  const { copies } = target;
  // What a read would repair in passing may be somebody else's good block (`contestedIn`): repairs are made by plan only.
  copies.repairs = false;
  if (options.repair === undefined) return fsckClaimed(target, options);
  // From the first look to the last repair nobody else writes (I11): what was found is what is repaired.
  const heartbeat = await Heartbeat.claim(copies, { random: options.random ?? new SystemRandom() });
  try {
    return await fsckClaimed(target, options);
  } finally {
    await heartbeat.release();
  }
}

/** Nothing is given up that a copy may still have which was not asked. Throws CopiesError. */
function refuseUnlessAllAsked({ checked }: Look): void {
  if (checked === undefined || checked.unasked === 0) return;
  const index = 31 - Math.clz32(checked.unasked);
  const detail =
    "may have what the others lack, so nothing is given up: give it too, catch it up, or finish its detach";
  throw new CopiesError("missing-copy", `copy ${index}`, detail);
}

async function fsckClaimed({ copies, devices }: FsckTarget, options: FsckOptions): Promise<FsckOutcome> {
  const headers = new Headers(copies, devices, { clock: options.clock, ms: DEADLINE_MS_DEFAULT });
  const target = { copies, headers };
  if (!options.force) {
    const findings = await lightLook(target);
    if (findings.length === 0) {
      return { light: true, findings, left: findings, failures: [], rounds: 0, exitCode: ExitBit.CLEAN };
    }
  }
  let look = await fullLook(target, options);
  const { findings } = look;
  if (options.abandon) refuseUnlessAllAsked(look);
  const met = new Set(errorsIn(findings));
  const lookAgain = async (repairUnless?: IsContested): Promise<void> => {
    look = await fullLook(target, options, repairUnless);
    for (const message of errorsIn(look.findings)) met.add(message);
  };
  let failures: RepairFailure[] = [];
  let rounds = 0;
  const { repair } = options;
  const losses = new FindingList();
  const context = contextOf(target, options, losses);
  if (repair !== undefined) {
    let before = "";
    let counted = rounds;
    while (counted < ROUNDS_MAX && repairable(look.findings, repair).length > 0) {
      // The same findings as before the last round: nothing was gained, nothing will be.
      const now = look.findings.map(({ message }) => message).join("\n");
      if (now === before) break;
      before = now;
      options.signal?.throwIfAborted();
      failures = await repairVolume(context, look.findings, look.checked, repair);
      rounds++;
      // More than were listed are repaired in passing: else a copy full of garbage took a check for every list.
      const { unlisted } = look;
      await lookAgain(unlisted > 0 ? contestedIn(look.checked) : undefined);
      if (look.unlisted >= unlisted) counted++;
    }
  }
  const stuck = failures.find(({ finding }) => finding?.repair?.kind === "log")?.finding;
  const left = [...look.findings, ...unseenSince(findings, look.findings), ...losses.findings].map(
    // Not a note any more: no mount would come up either.
    (finding): Finding => (finding.message === stuck?.message ? { ...finding, severity: asError(finding) } : finding),
  );
  for (const message of errorsIn(left)) met.delete(message);
  // Notes do not count: a log that was carried out is no error corrected, as little as for e2fsck.
  const corrected = rounds > 0 && met.size > 0;
  const exitCode = (corrected ? ExitBit.CORRECTED : 0) | (isClean(left) ? 0 : ExitBit.UNCORRECTED);
  return { light: false, findings, left, failures, rounds, exitCode };
}

const asError = ({ severity }: Finding): Finding["severity"] => (severity === "note" ? "error" : severity);

const errorsIn = (findings: readonly Finding[]): string[] =>
  findings.filter(({ severity }) => severity !== "note").map(({ message }) => message);

/** What was found before a copy failed, on it or on no copy in particular: nobody looked at it again. */
function unseenSince(before: readonly Finding[], now: readonly Finding[]): Finding[] {
  const failed = now.filter(({ name }) => name === "copy-failed").map(({ copy }) => copy);
  if (failed.length === 0) return [];
  const messages = new Set(now.map(({ message }) => message));
  return before.filter(({ copy, message }) => !messages.has(message) && (copy === undefined || failed.includes(copy)));
}

async function lightLook({ copies, headers }: Checking): Promise<readonly Finding[]> {
  const list = new FindingList();
  await headers.check(list);
  await checkLightly(copies, list);
  return list.close();
}

async function fullLook(
  { copies, headers }: Checking,
  options: FsckOptions,
  repairUnless?: IsContested,
): Promise<Look> {
  const list = new FindingList(options.keptPerKind);
  await headers.check(list);
  const checked = await checkInto(copies, list, {
    ...(options.onProgress && { onProgress: options.onProgress }),
    ...(options.signal && { signal: options.signal }),
    ...(repairUnless && { repairUnless }),
    ...(options.abandon && { abandon: true }),
  });
  const { unlisted } = list;
  return { findings: list.close(), unlisted, checked };
}

function contextOf(
  { copies, headers }: Checking,
  { clock, abandon, repair }: FsckOptions,
  losses: FindingList,
): RepairContext {
  return {
    copies,
    clock,
    abandon: abandon === true && repair === "full",
    losses,
    openWritable: (rescue) => openWritable(copies, { clock, commitMs: 0, isClaimed: true, ...rescue }),
    rewriteHeaders: () => headers.rewrite(),
  };
}
