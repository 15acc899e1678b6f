// Carries out repairs. Where operations wait in the log that is all, on a volume opened on fresh bitmaps and a mended PFS block where
// those on media are wrong. Else, safest first: blocks from another copy, then a volume opened in the same way for described
// operations on the tree, then commits that renew the rings, and then anchors are emptied. Every step
// obeys the order of commits (I2); a repair that fails leaves things as they were and is told. The caller checks again afterwards.

import type { Clock } from "../src/base/clock.ts";
import { FsError } from "../src/base/errno.ts";
import type { Eventually } from "../src/base/eventually.ts";
import { messageOf } from "../src/base/thrown.ts";
import type { CopySet } from "../src/copies/copy-set.ts";
import { readRings } from "../src/copies/ring.ts";
import { KIB, ROOT_SLOTS } from "../src/format/geometry.ts";
import { pfsNextIno, ROOT_INO } from "../src/format/pfs.ts";
import { findEntry } from "../src/ops/directories.ts";
import { directoryOf } from "../src/ops/inodes.ts";
import type { RepairAction } from "../src/ops/repair.ts";
import type { Volume } from "../src/volume/volume.ts";
import { carryOutLog } from "./carry-out-log.ts";
import type { Checked } from "./check.ts";
import type { Finding } from "./finding-list.ts";
import { FINDINGS } from "./findings.ts";
import type { IsContested } from "./repairing-reader.ts";
import { readBlock, refuseFound } from "./read-again.ts";
import type { AnchorRepair, BlockRepair, Repair } from "./repair-plan.ts";
import type { LookedAt, RepairContext, RepairFailure } from "./repair-context.ts";
import { type PlannedAction, planRepair } from "./rescue.ts";

/** safe: what -p does. full: all that can be done. */
export type RepairMode = "safe" | "full";

/** Order in which operations on the tree are made: what is named must be sound before names and sums are. */
const ACTION_ORDER: readonly RepairAction["kind"][] = [
  "pfs",
  "root-directory",
  "replace-run",
  "replace-inode",
  "relocate",
  "drop-inode",
  "drop-xattrs",
  "trim",
  "remove-entry",
  "entry-type",
  "attach",
  "fields",
  "mark",
  "unmark",
];

/** Findings that `mode` allows to repair: none after a check that one of the copies did not see to its end. */
export function repairable(findings: readonly Finding[], mode: RepairMode): Finding[] {
  if (findings.some(({ name }) => name === "copy-failed")) return [];
  return findings.filter((finding) => {
    if (finding.repair === undefined) return false;
    // Bitmaps computed from what is reachable lose nothing of it, whatever is wrong with those on media.
    const isSafe = FINDINGS[finding.name].repair === "safe" || finding.repair.kind === "freemap";
    return mode === "full" || isSafe;
  });
}

/**
 * Throws, before anything is changed, when a log waits and the copies given may not be written to, and when they fail meanwhile: see
 * `carryOutLog`.
 */
export async function repairVolume(
  context: RepairContext,
  findings: readonly Finding[],
  checked: Checked | undefined,
  mode: RepairMode,
): Promise<RepairFailure[]> {
  const failures: RepairFailure[] = [];
  const wanted = repairable(findings, mode);
  const ofKind = <K extends Repair["kind"]>(kind: K): Finding[] => wanted.filter(({ repair }) => repair?.kind === kind);
  const isContested = contestedIn(checked);
  const [log] = ofKind("log");
  // First of all, and by itself: what else is wrong is only told by the state that the log leads to.
  if (log !== undefined && checked !== undefined) {
    const { isDone, failures: met } = await carryOutLog(context, log, { wanted, found: findings, checked });
    failures.push(...met);
    if (isDone) return failures;
  }
  for (const finding of ofKind("block")) {
    const repair = finding.repair as BlockRepair;
    const { copy, pointers, sizeBytes } = repair;
    if (!isContested(copy, pointers[copy] as number, sizeBytes))
      await attempt(failures, finding, () => repairBlock(context.copies, repair));
  }
  await attempt(failures, undefined, () => context.copies.flush());
  if (ofKind("headers").length > 0) await attempt(failures, ofKind("headers")[0], context.rewriteHeaders);
  // A root that is written now would end the log.
  if (log !== undefined) return failures;
  const onVolume = wanted.filter(
    ({ repair }) => repair === undefined || !["block", "headers", "anchor"].includes(repair.kind),
  );
  const isRenewed =
    onVolume.length === 0 ||
    checked === undefined ||
    (await attempt(failures, onVolume[0], async () => {
      await refuseFound(context.copies, onVolume);
      await repairOnVolume(context, { wanted: onVolume, found: findings, checked }, failures);
    }));
  // Last of all: until its ring was renewed, the anchor may be the only complete root that a copy has.
  if (!isRenewed) return failures;
  for (const finding of ofKind("anchor"))
    await attempt(failures, finding, () => emptyAnchor(context.copies, (finding.repair as AnchorRepair).copy));
  return failures;
}

/** True when the step worked; else it is among the failures. */
async function attempt(
  failures: RepairFailure[],
  finding: Finding | undefined,
  step: () => Promise<void>,
): Promise<boolean> {
  try {
    await step();
    return true;
  } catch (error) {
    failures.push({ finding, message: messageOf(error) });
    return false;
  }
}

/** Tells whether a place may hold somebody else's good block, by what was met twice in a check. */
export function contestedIn(checked: Checked | undefined): IsContested {
  return (copy, kib, sizeBytes) => checked?.content.isContested(copy, kib, sizeBytes / KIB) ?? false;
}

/** Writes a block over its bad duplicate, from a copy where it verifies, and reads it back (I5). */
async function repairBlock(copies: CopySet, repair: BlockRepair): Promise<void> {
  const read = (pointers: readonly number[]): Promise<Uint8Array> => readBlock(copies, { ...repair, pointers });
  const kib = repair.pointers[repair.copy] as number;
  const bytes = await read(repair.pointers.map((pointer, index) => (index === repair.copy ? 0 : pointer)));
  const copy = copies.copy(repair.copy);
  if (copy === undefined) return;
  await copies.writeAt([{ copy, offsetBytes: kib * KIB, bytes }]);
  if (copy.failure !== undefined) throw copy.failure;
  await read(repair.pointers.map((pointer, index) => (index === repair.copy ? pointer : 0)));
  copy.repaired++;
}

async function emptyAnchor(copies: CopySet, index: number): Promise<void> {
  const copy = copies.copy(index);
  if (copy === undefined) return;
  await (await readRings(copies)).clearAnchor(copy);
  if (copy.failure !== undefined) throw copy.failure;
}

async function repairOnVolume(
  context: RepairContext,
  { wanted, found, checked }: LookedAt,
  failures: RepairFailure[],
): Promise<void> {
  const { rescue, actions } = planRepair(wanted, found, checked, "free");
  const volume = await context.openWritable(rescue);
  try {
    await repairTree(volume, context.clock, wanted, actions, failures);
    // Three roots: every slot of every ring is written anew, and nothing held back stays so.
    for (let slot = 0; slot < ROOT_SLOTS; slot++) await volume.forceCommit();
  } finally {
    await volume.close();
  }
}

async function repairTree(
  volume: Volume,
  clock: Clock,
  findings: readonly Finding[],
  actions: readonly PlannedAction[],
  failures: RepairFailure[],
): Promise<void> {
  for (const kind of ACTION_ORDER) {
    if (kind === "attach") {
      for (const finding of findings) {
        const { repair } = finding;
        if (repair?.kind !== "lost-and-found") continue;
        await attempt(failures, finding, () => attachLost(volume, clock, repair.ino));
      }
    }
    for (const { finding, action } of actions) {
      if (action.kind === kind) await attempt(failures, finding, () => apply(volume, action));
    }
  }
}

async function apply(volume: Volume, action: RepairAction): Promise<void> {
  await volume.apply({ op: "repair", action });
  if (action.kind !== "trim" && action.kind !== "mark") return;
  for (let ino: number | undefined = action.ino; ino !== undefined; ) {
    ino = (await volume.apply({ op: "release", ino })).unfinished;
  }
}

/** Gives an inode the name #NUMBER in lost+found, or #NUMBER.1 and so on where that is taken. */
async function attachLost(volume: Volume, clock: Clock, ino: number): Promise<void> {
  const parent = await lostAndFound(volume, clock);
  let number = 0;
  while ((await inodeNamed(volume, parent, nameOf(`#${ino}`, number))) !== undefined) number++;
  const name = nameOf(`#${ino}`, number);
  await volume.apply({ op: "repair", action: { kind: "attach", ino, parent, name } });
}

/** The directory /lost+found, which is made when it is missing; /lost+found.1 and so on where that is no directory that can be read. */
async function lostAndFound(volume: Volume, clock: Clock): Promise<number> {
  for (let number = 0; ; number++) {
    const name = nameOf("lost+found", number);
    const there = await inodeNamed(volume, ROOT_INO, name);
    if (there === undefined) return makeDirectory(volume, clock, name);
    if (await isUsableDirectory(volume, there)) return there;
  }
}

/** `base`, or its numberth name where that is taken. */
const nameOf = (base: string, number: number): Uint8Array =>
  new TextEncoder().encode(number === 0 ? base : `${base}.${number}`);

const inodeNamed = (volume: Volume, directory: number, name: Uint8Array): Eventually<number | undefined> =>
  volume.view((state) => findEntry(state.store, directoryOf(state, directory), name)?.ino);

/** False too for a directory that an entry names and no copy gives. */
async function isUsableDirectory(volume: Volume, ino: number): Promise<boolean> {
  try {
    await volume.view((state) => directoryOf(state, ino));
    return true;
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    return false;
  }
}

async function makeDirectory(volume: Volume, clock: Clock, name: Uint8Array): Promise<number> {
  const ino = await volume.view((state) => pfsNextIno(state.pfs().view));
  await volume.apply({
    op: "create",
    parent: ROOT_INO,
    name,
    ino,
    mode: 0o040700,
    umask: 0,
    uid: 0,
    gid: 0,
    rdevMajor: 0,
    rdevMinor: 0,
    time: clock.now(),
  });
  return ino;
}
