// Opening a volume: choose the newest root that verifies, hold its refs to the rules, set up one allocator per copy from
// the summaries in the freemap trees, hold back what older roots still name (I3), carry out what the log holds (I4), and
// finish what a crash left half removed. Nothing is written before root and log are found sound.

import { FsError } from "../base/errno.ts";
import { SystemRandom } from "../base/random.ts";
import { asError } from "../base/thrown.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { CopiesLostError } from "../copies/errors.ts";
import { Heartbeat } from "../copies/heartbeat.ts";
import { ringRoots } from "../copies/ring-slots.ts";
import { RefType } from "../format/blockref.ts";
import { type CheckType, isCheckType } from "../format/check.ts";
import { ROOT_SUPER_OFFSET, rootCheckType, rootSequence } from "../format/root-block.ts";
import { type RootTerms, rootTerms } from "../format/root-terms.ts";
import { Claim } from "../freemap/freemap.ts";
import type { Journal } from "../log/journal.ts";
import type { Block } from "../tree/block.ts";
import { NoSpace } from "../tree/miss.ts";
import { PfsState } from "../tree/pfs-state.ts";
import { BlockStore } from "../tree/store.ts";
import type { BlockRules } from "../tree/validate.ts";
import { finishReleases, renewRings } from "./after-open.ts";
import { CACHE_BYTES_DEFAULT } from "./defaults.ts";
import { FreemapFault } from "./freemap-fault.ts";
import { freemapFor } from "./freemap-trees.ts";
import { IntentLog } from "./intent-log.ts";
import { Members } from "./members.ts";
import {
  fillFreemaps,
  holdOlder,
  type Holding,
  holdRebuilt,
  loadSummaries,
  loadSummariesIfAny,
} from "./open-freemaps.ts";
import {
  endsAtLoss,
  endsAtLostLog,
  goesOnWithFewer,
  hasRecords,
  knowsNewest,
  type OpenOptions,
} from "./open-options.ts";
import { findRoot, isFar, type OpeningRoot, termsOf } from "./opening-root.ts";
import {
  claimPending,
  countOperations,
  findPending,
  headIsClaimed,
  newestTransaction,
  type PendingLog,
  releasePending,
  replay,
} from "./replay.ts";
import { checkRootRefs, memberSizes } from "./root-image.ts";
import { Volume, type VolumeOptions, type VolumeParts } from "./volume.ts";

export type { OpenOptions };

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
      if (!(error instanceof FreemapFault) || hasRecords(options)) throw error;
      return openClaimed(copies, { ...options, readOnlyReason: error.message }, heartbeat).catch((second: unknown) => {
        // The log needs room, in memory, that is known to be free.
        throw second instanceof FsError && second.code === "ENOSPC" ? error : second;
      });
    });
    // It may have turned out that it can only be read.
    if (volume.readOnly !== undefined) await heartbeat.release();
    return volume;
  } catch (error) {
    await heartbeat.release();
    throw error;
  }
}

async function openClaimed(copies: CopySet, options: OpenOptions, heartbeat?: Heartbeat): Promise<Volume> {
  // Nothing is repaired on a volume that may turn out to be one that can only be read.
  const { repairs } = copies;
  copies.repairs = false;
  const root = await findRoot(copies, options);
  const { readOnly, readOnlyReason, tooFew } = termsOf(root, options);
  copies.repairs = repairs && !readOnly;
  const store = storeAfter(root, copies, options);
  // What can't be written yet stays in memory.
  store.early.allowed = !readOnly && options.writesEarly !== false;
  const holdings = await setUpFreemaps(store, root.image, options, readOnly);
  const pending = await claimLog(store, root.image.view, copies, options, readOnly);
  holdRebuilt(root.image, holdings);
  if (!readOnly) await holdOlder(store, root.image, root.rules, root.chosen);
  for (const copy of copies.copies) copy.flushedTid = store.tid - 1;

  const parts = await makeParts(store, root, copies, options);
  const intent =
    readOnly || options.journal === undefined ? undefined : beginLog(parts, root, options, options.journal);
  if (readOnly && !knowsNewest(options)) options.journal?.remember(root.image.view);
  const volume = new Volume(
    { ...parts, ...(heartbeat && { heartbeat }), ...(intent && { intent }) },
    { ...options, readOnly, ...(readOnlyReason !== undefined && { readOnlyReason }) },
  );
  // What the process before us completed can't be made durable: nobody may be told that it is.
  if (tooFew !== undefined && hasRecords(options)) volume.failWith(new CopiesLostError(tooFew));
  try {
    if (readOnly) await replayPending(volume, pending, options, readOnly);
    else await beginWriting(volume, { root, pending, intent }, options);
  } catch (error) {
    // Somebody may open it anew, to read it only: no commit of this one must come after that.
    volume.failWith(asError(error));
    copies.repairs = repairs;
    throw error;
  }
  return volume;
}

/** An empty store whose open transaction is newer than any that ever was. Throws FsError EINVAL or EIO for a root that makes no sense. */
function storeAfter({ image, chosen, rules }: OpeningRoot, copies: CopySet, options: OpenOptions): BlockStore {
  const { view } = image;
  const checkType = rootCheckType(view);
  if (!isCheckType(checkType)) throw new FsError("EINVAL", `the root names an unknown check code (${checkType})`);
  checkRootRefs(rules, image);
  const store = newStore(copies, rules, checkType, options);
  // A root that the process before us sealed may be on a copy that is not here: its sequence must not come to mean another one.
  const issuedSequence = knowsNewest(options) ? (options.journal?.issuedSequence ?? 0) : 0;
  store.tid = Math.max(chosen.highestSequence, rootSequence(view), issuedSequence) + 1;
  return store;
}

/** One allocator for each copy that the root knows. Returns what is to be held back once the log has what it names. Throws FreemapFault. */
async function setUpFreemaps(
  store: BlockStore,
  rootImage: Block,
  { rebuildFreemap, isNamedTwice }: OpenOptions,
  readOnly: boolean,
): Promise<readonly Holding[]> {
  const freemaps = memberSizes(rootImage.view).flatMap((sizeKib, index) =>
    sizeKib === 0 ? [] : [freemapFor(store, rootImage, { index, sizeKib }, readOnly ? "used" : "fault")],
  );
  if (isNamedTwice !== undefined) {
    for (const freemap of freemaps) freemap.neverFrees((kib, sizeKib) => isNamedTwice(freemap.copy, kib, sizeKib));
  }
  if (rebuildFreemap !== undefined) return fillFreemaps(store, rebuildFreemap);
  const load = readOnly ? loadSummariesIfAny : loadSummaries;
  await Promise.all(freemaps.map((freemap) => load(store, rootImage, freemap)));
  return [];
}

/** What was completed after the root, with every place that it names set aside before anything is allocated (trap 4). */
async function claimLog(
  store: BlockStore,
  root: DataView,
  copies: CopySet,
  options: OpenOptions,
  readOnly: boolean,
): Promise<PendingLog | undefined> {
  const journal = knowsNewest(options) ? options.journal : undefined;
  const pending = await findPending(root, copies, { journal, dropLost: endsAtLostLog(options) });
  if (pending === undefined) return undefined;
  try {
    store.tid = Math.max(store.tid, newestTransaction(pending, store.tid));
    // Where nothing is carried out, and nothing written, no place need be set aside.
    if (!readOnly || pending.records.length > 0) await claimPending(pending, store, copies);
  } catch (error) {
    // Nothing is wrong with the log where a bitmap is to blame.
    const isToBlame = error instanceof FsError && !(error instanceof FreemapFault);
    if (!isToBlame || options.abandonLog !== true) throw error;
    const waiting = countOperations(pending);
    options.onLogDropped?.(waiting, waiting, error.message);
    return { ...pending, records: [] };
  }
  return pending;
}

/** What the volume consists of, its PFS block in memory. */
async function makeParts(
  store: BlockStore,
  root: OpeningRoot,
  copies: CopySet,
  options: OpenOptions,
): Promise<VolumeParts> {
  const { image: rootImage, rings: roots } = root;
  const random = options.random ?? new SystemRandom();
  const members = new Members({ store, copies, rootImage }, random, issuedTerms(root, options), options.journal);
  const { pfsBlock } = options;
  if (pfsBlock !== undefined) await store.untilLoaded(() => replacePfs(store, rootImage, pfsBlock));
  const state = new PfsState(store, rootImage);
  await store.untilLoaded(() => state.pfs());
  return { copies, store, state, rootImage, roots, members };
}

/**
 * Terms of the newest root of each complete copy, and of those that the process before us issued; where one copy was made master by
 * force, what others hold is left behind.
 */
function issuedTerms({ rings, image }: OpeningRoot, options: OpenOptions): RootTerms[] {
  if (options.forcedMaster !== undefined) return [rootTerms(image.view)];
  const complete = rings.rings.filter(({ copy }) => copy.standing === "in-sync");
  const newest = complete.flatMap((ring) => ringRoots(ring).slice(0, 1)).map(({ view }) => rootTerms(view));
  return knowsNewest(options) ? [...(options.journal?.terms ?? []), ...newest] : newest;
}

/** Carries out what was completed after the root. Returns the places that refs name now, undefined where there was nothing. */
async function replayPending(
  volume: Volume,
  pending: PendingLog | undefined,
  options: OpenOptions,
  readOnly: boolean,
): Promise<ReadonlySet<string> | undefined> {
  if (pending === undefined || pending.records.length === 0) return undefined;
  const { store, state, copies } = volume;
  try {
    return await replay(pending, {
      store,
      state,
      copies,
      readOnly,
      endsAtLoss: endsAtLoss(options) || (readOnly && options.degraded === true),
      onResult: (requestId, result) => volume.noteReplayed(requestId, result),
      onDropped: options.onLogDropped ?? (() => undefined),
    });
  } catch (error) {
    if (!(error instanceof NoSpace)) throw error;
    // What was lost of a bitmap counts as used.
    throw new FsError("ENOSPC", "there is no room that is known to be free to carry out the log; run fsck.h2ts -y");
  }
}

/** What an opening has found by the time that it begins to write. */
interface Beginning {
  readonly root: OpeningRoot;
  readonly pending: PendingLog | undefined;
  readonly intent: IntentLog | undefined;
}

/**
 * What must be durable before anybody sees it. Whoever is not here, or failed, is left behind before anything is changed (I2). A root that
 * a crash kept from some copies is made durable on all: no copy alone may go back. In the end the root names a log, so that
 * the first fsync can go into it: a new one, or that which it named before, if there is nothing in it.
 */
async function beginWriting(volume: Volume, { root, pending, intent }: Beginning, options: OpenOptions): Promise<void> {
  const { store } = volume;
  // Also where nothing is logged from now on: until a new root is durable, the log that is replayed is what a crash leaves (I4).
  store.logged = true;
  const begunAnew = leaveBehind(volume, root, options);
  const isAnyBehind = volume.rings.rings.some(
    (ring) => ring.copy.standing === "in-sync" && ringRoots(ring)[0]?.sequence !== volume.sequence,
  );
  await options.beforeReplay?.(volume);
  const adopted = await replayPending(volume, pending, options, false);
  await volume.provideLog();
  // A copy that failed on the way is dropped now: before, a commit would have held a part of the log and ended it (trap 6).
  const mustCommit = begunAnew || isAnyBehind || adopted !== undefined || volume.copies.failed.length > 0;
  const mayResume = !mustCommit && pending?.isEmpty === true && headIsClaimed(pending, volume.rootImage.view);
  const resumed = mayResume && intent?.resume(volume.rootImage.view) === true;
  volume.allowCommits();
  if (mustCommit || (volume.isLogged && !resumed)) await volume.forceCommit();
  store.logged = intent !== undefined;
  if (resumed) intent?.prepare();
  else if (pending !== undefined) releasePending(pending, store, adopted ?? new Set());
  if (options.takeOver !== true) await finishReleases(volume, options.onNote ?? (() => undefined));
  if (options.renewRings === true) await renewRings(volume, root.rings);
}

/**
 * Members of the in-sync set that are not here, or failed, leave it, under a new epoch. So do the later states of a copy that was
 * made master by force, even if nobody leaves (I6). True when a root has to say so.
 */
function leaveBehind({ members }: Volume, { chosen, failed }: OpeningRoot, { forcedMaster }: OpenOptions): boolean {
  const { lost } = chosen;
  // With the root that leaves them behind: who comes after us has no other word of it.
  for (const copy of failed.filter(isFar)) members.distrust(copy);
  if (lost !== 0) {
    members.leave(lost);
    members.acceptFewer();
  } else if (forcedMaster !== undefined) members.beginEpoch();
  return lost !== 0 || forcedMaster !== undefined;
}

/** A journal of our own begins with this root; one that is taken over goes on, if the process before us wrote to the volume. */
function beginLog(
  parts: Pick<VolumeParts, "store" | "copies" | "rootImage">,
  root: OpeningRoot,
  options: OpenOptions,
  journal: Journal,
): IntentLog {
  const takesOver = hasRecords(options);
  // Where the operator goes on with fewer, what others hold is left behind.
  const terms = goesOnWithFewer(options) ? [] : issuedTerms(root, options);
  if (!takesOver) journal.begin(parts.rootImage.view, terms);
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
