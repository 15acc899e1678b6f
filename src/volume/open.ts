// Opening a volume: choose the newest root that verifies, hold its refs to the rules, set up one allocator per copy from
// the summaries in the freemap trees, hold back what older roots still name (I3), carry out what the log holds (I4), and
// finish what a crash left half removed. Nothing is written before root and log are found sound.

import { bitCount } from "../base/bits.ts";
import { FsError } from "../base/errno.ts";
import { SystemRandom } from "../base/random.ts";
import type { Copy, CopySet } from "../copies/copy-set.ts";
import { type ChoosePolicy, type ChosenRoot, chooseRoot } from "../copies/choose-root.ts";
import { CopiesError, CopiesLostError } from "../copies/errors.ts";
import { recountMembers } from "../copies/membership.ts";
import { Heartbeat } from "../copies/heartbeat.ts";
import { type RingSet, readRings } from "../copies/ring-set.ts";
import { ringRoots } from "../copies/ring-slots.ts";
import { RefType } from "../format/blockref.ts";
import { type CheckType, isCheckType } from "../format/check.ts";
import { mountability } from "../format/features.ts";
import {
  ROOT_SUPER_OFFSET,
  rootCheckType,
  rootFeatures,
  rootFormatVersion,
  rootInSync,
  rootMinCopies,
  rootSequence,
} from "../format/root-block.ts";
import { Claim } from "../freemap/freemap.ts";
import type { Journal } from "../log/journal.ts";
import type { OperationResult } from "../ops/operation.ts";
import type { Block } from "../tree/block.ts";
import { PfsState } from "../tree/pfs-state.ts";
import { BlockStore } from "../tree/store.ts";
import type { BlockRules } from "../tree/validate.ts";
import { finishReleases, renewRings } from "./after-open.ts";
import { freemapFor } from "./freemap-trees.ts";
import { IntentLog } from "./intent-log.ts";
import { Members } from "./members.ts";
import {
  fillFreemaps,
  FreemapFault,
  holdOlder,
  holdRebuilt,
  loadSummaries,
  loadSummariesIfAny,
  type RebuiltFreemap,
} from "./open-freemaps.ts";
import { claimPending, countOperations, findPending, newestTransaction, releasePending, replay } from "./replay.ts";
import { rolledBackCopies } from "./rolled-back.ts";
import { checkRootRefs, imageBlock, memberSizes, rulesFor } from "./root-image.ts";
import { CACHE_BYTES_DEFAULT, Volume, type VolumeOptions, type VolumeParts } from "./volume.ts";

export interface OpenOptions extends VolumeOptions, ChoosePolicy {
  /** How long a heartbeat counts (I11). */
  readonly leaseMs?: number;
  /** That of the worker whose place is taken; see Heartbeat. */
  readonly heartbeatNonce?: Uint8Array;
  /** Whoever opens it has claimed the copies already, and gives them free when all of its work is done. */
  readonly isClaimed?: boolean;
  /**
   * Instead of the bitmaps on media: each copy's, computed from what is reachable without the freemap trees; what the old
   * trees occupy is held.
   */
  readonly rebuildFreemap?: (copyIndex: number) => RebuiltFreemap;
  /** Counts the copies of the volume, and those needed, from the members that the root names. */
  readonly recount?: boolean;
  /** Instead of the PFS block on media, when that breaks the rules. */
  readonly pfsBlock?: Uint8Array;
  /** Where completed operations are noted; what is to be durable is appended to logs then. Without one it is committed. */
  readonly journal?: Journal;
  /**
   * The journal is that of a process that is gone, whose mount goes on: what it completed is carried out again, and inodes
   * without names stay, since programs may have them open.
   */
  readonly takeOver?: boolean;
  /** Goes on without acknowledged operations that no copy's log can give any more. */
  readonly dropLostLog?: boolean;
  /** Ends the log before the first operation that can't be carried out; else the volume is not opened. */
  readonly abandonLog?: boolean;
  /** Told how many completed operations were given up, of how many that waited, and why. */
  readonly onLogDropped?: (dropped: number, waiting: number, reason: string) => void;
  /** Puts the tree in order before the log is carried out; one commit makes both durable. Not called for a volume that can only be read. */
  readonly beforeReplay?: (volume: Volume) => Promise<void>;
  /** Writes damaged slots of the root rings anew at once. */
  readonly renewRings?: boolean;
  /** Told what the operator should know although the volume could be opened. */
  readonly onNote?: (line: string) => void;
}

/**
 * Opens the volume on `copies`, which nobody else writes to from then on (I11). Throws CopiesError or FsError with one clear
 * line; nothing is changed then.
 */
export async function openVolume(copies: CopySet, options: OpenOptions): Promise<Volume> {
  if (options.readOnly === true || options.isClaimed === true) return openClaimed(copies, options);
  const { random = new SystemRandom(), leaseMs, heartbeatNonce: nonce } = options;
  const heartbeat = await Heartbeat.claim(copies, {
    random,
    ...(leaseMs === undefined ? {} : { leaseMs }),
    ...(nonce === undefined ? {} : { nonce }),
  });
  try {
    const volume = await openClaimed(copies, options, heartbeat).catch((error: unknown) => {
      // Nobody writes by a bitmap that can't be read. What a process before this one completed must not be forgotten for that.
      if (!(error instanceof FreemapFault) || options.takeOver === true) throw error;
      return openClaimed(copies, { ...options, readOnlyReason: error.message }, heartbeat);
    });
    // It may have turned out that it can only be read.
    if (volume.readOnly !== undefined) await heartbeat.release();
    return volume;
  } catch (error) {
    await heartbeat.release();
    throw error;
  }
}

/** Chooses the root, having looked at what copies that are one root behind it hold. */
async function chooseTrusted(rings: RingSet, options: OpenOptions): Promise<ChosenRoot> {
  const { journal } = options;
  const policy = {
    ...options,
    degraded: options.degraded === true || knowsNewest(options),
    ...(knowsNewest(options) && { goesOnFrom: (root: DataView) => journal?.knows(root) === true }),
    onlyRead: !hasRecords(options),
  };
  const chosen = chooseRoot(rings, policy);
  const newest = imageBlock(chosen.image.slice());
  const rules = rulesFor(newest.view);
  checkRootRefs(rules, newest);
  const rolledBack = await rolledBackCopies(rings, newest, imageBlock, rules);
  return rolledBack === 0 ? chosen : chooseRoot(rings, { ...policy, rolledBack });
}

/** Whoever takes over knows which root was the newest: no acknowledged one can be hidden on a copy that is not here (`findPending`). */
const knowsNewest = ({ takeOver, journal }: OpenOptions): boolean => takeOver === true && journal?.hasRoot === true;

/** Nor is anything that was completed anywhere else than in the journal. */
const hasRecords = ({ takeOver, journal }: OpenOptions): boolean => takeOver === true && journal?.hasRecords === true;

/**
 * Copies that failed under the process before us are left behind, as that was about to do (I2): the system tells once only that a
 * flush failed, and then calls lost pages clean. Throws CopiesError when all others in sync are missing, FsError EIO when there are none.
 */
function withoutFailed(
  chosen: ChosenRoot,
  { copies }: CopySet,
  options: OpenOptions,
): { readonly chosen: ChosenRoot; readonly failed: readonly Copy[] } {
  const mask = knowsNewest(options) ? (options.journal?.failedCopies ?? 0) : 0;
  const failed = copies.filter((copy) => copy.standing === "in-sync" && (mask & copy.bit) !== 0);
  if (failed.length === 0) return { chosen, failed };
  if (copies.every((copy) => copy.standing !== "in-sync" || failed.includes(copy))) {
    const names = failed.map(({ name }) => name).join(", ");
    if ((rootInSync(new DataView(chosen.image.buffer, chosen.image.byteOffset)) & ~mask) !== 0) {
      const detail = "every copy in sync that is here failed a write or flush; give the others, and mount again";
      throw new CopiesError("missing-copy", names, detail);
    }
    throw new FsError(
      "EIO",
      `${names}: every copy in sync failed a write or flush; unmount, see to them, and mount again`,
    );
  }
  for (const copy of failed) {
    copy.standing = isFar(copy) ? "unknown" : "stale";
    copy.reason = "failed before the worker died";
  }
  return { chosen: { ...chosen, lost: failed.reduce((lost, copy) => lost | copy.bit, chosen.lost) }, failed };
}

/** What a server had before a flush that failed may be gone with it (I6). */
const isFar = ({ device }: Copy): boolean => device.distanceMs !== undefined;

async function openClaimed(copies: CopySet, options: OpenOptions, heartbeat?: Heartbeat): Promise<Volume> {
  // Nothing is repaired on a volume that may turn out to be one that can only be read.
  const { repairs } = copies;
  copies.repairs = false;
  const rings = await readRings(copies);
  const { chosen, failed } = withoutFailed(await chooseTrusted(rings, options), copies, options);
  const rootImage = imageBlock(chosen.image.slice());
  const { view } = rootImage;
  if (options.recount === true) recountMembers(view);
  const verdict = mountability(rootFormatVersion(view), rootFeatures(view));
  if (verdict.kind === "refuse") throw new FsError("EINVAL", verdict.reason);
  const tooFew = tooFewCopies(view, chosen, options);
  const readOnlyReason = verdict.kind === "read-only" ? verdict.reason : (tooFew ?? options.readOnlyReason);
  const readOnly = options.readOnly === true || readOnlyReason !== undefined;
  copies.repairs = repairs && !readOnly;
  const checkType = rootCheckType(view);
  if (!isCheckType(checkType)) throw new FsError("EINVAL", `the root names an unknown check code (${checkType})`);

  const rules = rulesFor(view);
  checkRootRefs(rules, rootImage);
  const store = newStore(copies, rules, checkType, options);
  // A root that the process before us sealed may be on a copy that is not here: its sequence must not come to mean another one.
  const issuedSequence = knowsNewest(options) ? (options.journal?.issuedSequence ?? 0) : 0;
  store.tid = Math.max(chosen.highestSequence, rootSequence(view), issuedSequence) + 1;
  const freemaps = memberSizes(view).flatMap((sizeKib, index) =>
    sizeKib === 0 ? [] : [freemapFor(store, rootImage, index, sizeKib)],
  );
  const { rebuildFreemap } = options;
  const holdings = rebuildFreemap === undefined ? [] : fillFreemaps(store, rootImage, rebuildFreemap);
  if (rebuildFreemap === undefined)
    await Promise.all(
      freemaps.map((freemap) => (readOnly ? loadSummariesIfAny : loadSummaries)(store, rootImage, freemap)),
    );
  // The last complete state of a copy that others went on from is what there is of it.
  const dropLost = options.dropLostLog === true || options.forcedMaster !== undefined;
  const onDropped = options.onLogDropped ?? (() => undefined);
  let pending = await findPending(view, copies, {
    journal: knowsNewest(options) ? options.journal : undefined,
    dropLost,
  });
  if (pending !== undefined) {
    try {
      store.tid = Math.max(store.tid, newestTransaction(pending, store.tid));
      // Nothing is carried out, and nothing written: no place need be set aside.
      if (!readOnly || pending.records.length > 0) await claimPending(pending, store, copies);
    } catch (error) {
      if (!(error instanceof FsError) || options.abandonLog !== true) throw error;
      const waiting = countOperations(pending);
      onDropped(waiting, waiting, error.message);
      pending = { ...pending, records: [] };
    }
  }
  holdRebuilt(rootImage, holdings);
  if (!readOnly) await holdOlder(store, rootImage, rules, chosen);

  for (const copy of copies.copies) copy.flushedTid = store.tid - 1;
  const complete = rings.rings.filter(({ copy }) => copy.standing === "in-sync");
  const newestRoots =
    options.forcedMaster === undefined
      ? complete.flatMap((ring) => ringRoots(ring).slice(0, 1)).map((root) => root.view)
      : [view];
  const members = new Members({ store, copies, rootImage }, options.random ?? new SystemRandom(), newestRoots);
  const { pfsBlock } = options;
  if (pfsBlock !== undefined) await store.untilLoaded(() => replacePfs(store, rootImage, pfsBlock));
  const state = new PfsState(store, rootImage);
  await store.untilLoaded(() => state.pfs());
  const parts = { copies, store, state, rootImage, roots: rings, members };
  const intent = readOnly || options.journal === undefined ? undefined : beginLog(parts, options, options.journal);
  if (readOnly && !knowsNewest(options)) options.journal?.remember(view);
  const volume = new Volume(
    { ...parts, ...(heartbeat && { heartbeat }), ...(intent && { intent }) },
    {
      ...options,
      readOnly,
      ...(readOnlyReason !== undefined && { readOnlyReason }),
    },
  );
  const onResult = (requestId: number, result: OperationResult): void => volume.noteReplayed(requestId, result);
  const replayPending = async (): Promise<boolean> => {
    if (pending === undefined || pending.records.length === 0) return false;
    const isForced = options.forcedMaster !== undefined || options.abandonLog === true;
    const endsAtLoss = isForced || (readOnly && options.degraded === true);
    adopted = await replay(pending, { store, state, copies, readOnly, endsAtLoss, onResult, onDropped });
    return true;
  };
  let adopted: ReadonlySet<string> = new Set();
  // What the process before us completed can't be made durable: nobody may be told that it is.
  if (tooFew !== undefined && hasRecords(options)) volume.failWith(new CopiesLostError(tooFew));
  if (readOnly) await replayPending();
  else {
    // A log with nothing in it goes on as it is, and keeps its place.
    const resumeLog = (): boolean => pending?.isEmpty === true && intent?.resume(view) === true;
    // Also where nothing is logged from now on: until a new root is durable, the log that is replayed is what a crash leaves (I4).
    store.logged = true;
    const resumed = await beginWriting(volume, chosen.lost, failed, options, { replayPending, resumeLog });
    store.logged = intent !== undefined;
    if (resumed) intent?.prepare();
    if (pending !== undefined && !resumed) releasePending(pending, store, adopted);
    if (options.takeOver !== true) await finishReleases(volume, options.onNote ?? (() => undefined));
    if (options.renewRings === true) await renewRings(volume, rings);
  }
  return volume;
}

/** Why the volume can't be written to: fewer copies are complete than it asks for, and nobody said that this will do. */
function tooFewCopies(
  root: DataView,
  chosen: ChosenRoot,
  { degraded, forcedMaster, takeOver }: OpenOptions,
): string | undefined {
  const left = bitCount(rootInSync(root) & ~chosen.lost);
  const needed = rootMinCopies(root);
  // What the operator said at the mount is in its first root: nobody was asked about what is missing since.
  const isSaid = degraded === true && takeOver !== true;
  if (left >= needed || isSaid || forcedMaster !== undefined) return undefined;
  return `${left} of the ${needed} copies needed are complete; give more of them, or mount with -o degraded to write nevertheless`;
}

/**
 * Members of the in-sync set that are not here, or `failed`, are left behind, under a new epoch, before anything is changed (I2). So are
 * the later states of a copy that was made master by force, even if nobody leaves (I6). A root that a crash kept from some
 * copies is made durable on all before anybody sees what it says: no copy alone may go back. In the end the root names a log,
 * so that the first fsync can go into it; true when that is the one that it named before.
 */
async function beginWriting(
  volume: Volume,
  lost: number,
  failed: readonly Copy[],
  { forcedMaster, beforeReplay }: Pick<OpenOptions, "forcedMaster" | "beforeReplay">,
  { replayPending, resumeLog }: { readonly replayPending: () => Promise<boolean>; readonly resumeLog: () => boolean },
): Promise<boolean> {
  const forced = forcedMaster !== undefined;
  // With the root that leaves them behind: who comes after us has no other word of it.
  for (const copy of failed.filter(isFar)) volume.members.distrust(copy);
  if (lost !== 0) {
    volume.members.leave(lost);
    volume.members.acceptFewer();
  } else if (forced) volume.members.beginEpoch();
  const behind = volume.rings.rings.some(
    (ring) => ring.copy.standing === "in-sync" && ringRoots(ring)[0]?.sequence !== volume.sequence,
  );
  await beforeReplay?.(volume);
  const replayed = await replayPending();
  await volume.provideLog();
  // A copy that failed on the way is dropped now: before, a commit would have held a part of the log and ended it (trap 6).
  const mustCommit = lost !== 0 || forced || behind || replayed || volume.copies.failed.length > 0;
  const resumed = !mustCommit && resumeLog();
  volume.allowCommits();
  if (mustCommit || (volume.isLogged && !resumed)) await volume.forceCommit();
  return resumed;
}

/** A journal of our own begins with this root; one that is taken over goes on, if the process before us wrote to the volume. */
function beginLog(
  parts: Pick<VolumeParts, "store" | "copies" | "rootImage">,
  options: OpenOptions,
  journal: Journal,
): IntentLog {
  const takesOver = hasRecords(options);
  if (!takesOver) journal.begin(parts.rootImage.view);
  return new IntentLog(parts, journal, { random: options.random ?? new SystemRandom(), takesOver });
}

export function newStore(copies: CopySet, rules: BlockRules, checkType: CheckType, options: VolumeOptions): BlockStore {
  return new BlockStore({ source: copies, rules, checkType, cacheBytes: options.cacheBytes ?? CACHE_BYTES_DEFAULT });
}

/** Puts `bytes` where the root names its first PFS, which is not read. */
function replacePfs(store: BlockStore, rootImage: Block, bytes: Uint8Array): void {
  store.attempt(Claim.DELETING, () => {
    store.release(rootImage, ROOT_SUPER_OFFSET);
    store.create(rootImage, ROOT_SUPER_OFFSET, RefType.PFS, bytes.length).bytes.set(bytes);
  });
}
