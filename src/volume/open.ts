// Opening a volume: choose the newest root that verifies, hold its refs to the rules, set up one allocator per copy from
// the summaries in the freemap trees, hold back what older roots still name (I3), carry out what the log holds (I4), and
// finish what a crash left half removed. Nothing is written before root and log are found sound.

import { FsError } from "../base/errno.ts";
import { SystemRandom } from "../base/random.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { type ChoosePolicy, type ChosenRoot, chooseRoot } from "../copies/choose-root.ts";
import { bitCount } from "../copies/membership.ts";
import { Heartbeat } from "../copies/heartbeat.ts";
import { type RingSet, readRings } from "../copies/ring-set.ts";
import { type RingFindingKind, ringRoots } from "../copies/ring-slots.ts";
import { BLOCKREF_BYTES, BLOCKSET_REFS, RefType, refFreeChunks, refFreeKib, refKey } from "../format/blockref.ts";
import { type CheckType, isCheckType } from "../format/check.ts";
import { mountability } from "../format/features.ts";
import { leafCount } from "../format/freemap.ts";
import { COPIES_MAX, ROOT_SLOTS } from "../format/geometry.ts";
import {
  ROOT_SUPER_OFFSET,
  rootCheckType,
  rootFeatures,
  rootFormatVersion,
  rootFreemapOffset,
  rootInSync,
  rootLastSeen,
  rootMinCopies,
  rootSequence,
} from "../format/root-block.ts";
import { Claim, type Freemap } from "../freemap/freemap.ts";
import { LEAF_WORDS } from "../freemap/leaf.ts";
import type { Journal } from "../log/journal.ts";
import { pendingReleases } from "../ops/inodes.ts";
import type { OperationResult } from "../ops/operation.ts";
import { Block, ROOT_IMAGE } from "../tree/block.ts";
import { CorruptBlockStructure, MISS } from "../tree/miss.ts";
import { PfsState } from "../tree/pfs-state.ts";
import { BlockStore } from "../tree/store.ts";
import { treeCeiling } from "../tree/tree.ts";
import { BlockRules } from "../tree/validate.ts";
import { freemapFor, freemapRoot } from "./freemap-trees.ts";
import { IntentLog } from "./intent-log.ts";
import { Members } from "./members.ts";
import { claimPending, findPending, releasePending, replay } from "./replay.ts";
import { type UntilLoaded, holdBits, mergeBits, usedOnlyByOlder } from "./older-roots.ts";
import { rolledBackCopies } from "./rolled-back.ts";
import { CACHE_BYTES_DEFAULT, Volume, type VolumeOptions, type VolumeParts } from "./volume.ts";

export interface OpenOptions extends VolumeOptions, ChoosePolicy {
  /** How long a heartbeat counts (I11). */
  readonly leaseMs?: number;
  /** That of the worker whose place is taken; see Heartbeat. */
  readonly heartbeatNonce?: Uint8Array;
  /**
   * Instead of the bitmaps on media: the words of each copy's bitmap, computed from what is reachable without the
   * freemap trees, and the words of what must not be used before three commits went by (what the old trees occupy).
   */
  readonly rebuildFreemap?: (copyIndex: number) => { readonly words: Uint32Array; readonly hold: Uint32Array };
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
  /** Writes damaged slots of the root rings anew at once. */
  readonly renewRings?: boolean;
}

/** The image of a root as a block that is always writable. */
export function imageBlock(bytes: Uint8Array): Block {
  const block = new Block(ROOT_IMAGE, { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) });
  block.dirty = true;
  return block;
}

/** Block rules for the copies a root knows, present or not. */
export function rulesFor(root: DataView): BlockRules {
  return new BlockRules(memberSizes(root));
}

/** KiB of each copy, by index; 0 where the volume has none. */
export function memberSizes(root: DataView): number[] {
  return Array.from({ length: COPIES_MAX }, (_, index) => rootLastSeen(root, index)?.sizeKib ?? 0);
}

export function untilLoadedIn(store: BlockStore): UntilLoaded {
  return async (body) => {
    const pinned: Block[] = [];
    try {
      for (;;) {
        try {
          return body();
        } catch (error) {
          if (error !== MISS) throw error;
        }
        await store.load(pinned);
      }
    } finally {
      store.unpin(pinned);
    }
  };
}

/**
 * Opens the volume on `copies`, which nobody else writes to from then on (I11). Throws CopiesError or FsError with one clear
 * line; nothing is changed then.
 */
export async function openVolume(copies: CopySet, options: OpenOptions): Promise<Volume> {
  if (options.readOnly === true) return openClaimed(copies, options);
  const { random = new SystemRandom(), leaseMs, heartbeatNonce: nonce } = options;
  const heartbeat = await Heartbeat.claim(copies, {
    random,
    ...(leaseMs === undefined ? {} : { leaseMs }),
    ...(nonce === undefined ? {} : { nonce }),
  });
  try {
    const volume = await openClaimed(copies, options, heartbeat);
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
  const chosen = chooseRoot(rings, options);
  const newest = imageBlock(chosen.image.slice());
  const rules = rulesFor(newest.view);
  checkRootRefs(rules, newest);
  const rolledBack = await rolledBackCopies(rings, newest, imageBlock, rules);
  return rolledBack === 0 ? chosen : chooseRoot(rings, { ...options, rolledBack });
}

async function openClaimed(copies: CopySet, options: OpenOptions, heartbeat?: Heartbeat): Promise<Volume> {
  const rings = await readRings(copies);
  const chosen = await chooseTrusted(rings, options);
  const rootImage = imageBlock(chosen.image.slice());
  const { view } = rootImage;
  const verdict = mountability(rootFormatVersion(view), rootFeatures(view));
  if (verdict.kind === "refuse") throw new FsError("EINVAL", verdict.reason);
  const tooFew = tooFewCopies(view, chosen, options);
  const readOnly = options.readOnly === true || verdict.kind === "read-only" || tooFew !== undefined;
  const checkType = rootCheckType(view);
  if (!isCheckType(checkType)) throw new FsError("EINVAL", `the root names an unknown check code (${checkType})`);

  const rules = rulesFor(view);
  checkRootRefs(rules, rootImage);
  const store = newStore(copies, rules, checkType, options);
  store.tid = Math.max(chosen.highestSequence, rootSequence(view)) + 1;
  const untilLoaded = untilLoadedIn(store);
  for (const [index, sizeKib] of memberSizes(view).entries()) {
    if (sizeKib === 0) continue;
    const freemap = freemapFor(store, rootImage, index, sizeKib);
    if (options.rebuildFreemap === undefined) await loadSummaries(store, untilLoaded, rootImage, freemap);
  }
  if (options.rebuildFreemap !== undefined) rebuildFreemaps(store, rootImage, options.rebuildFreemap);
  const pending = await findPending(view, copies, {
    journal: options.takeOver === true ? options.journal : undefined,
    // The last complete state of a copy that others went on from is what there is of it.
    dropLost: options.dropLostLog === true || options.forcedMaster !== undefined,
  });
  if (pending !== undefined) await claimPending(pending, store, copies, untilLoaded);
  if (options.rebuildFreemap === undefined && !readOnly) await holdOlder(store, untilLoaded, rootImage, rules, chosen);

  for (const copy of copies.copies) copy.flushedTid = store.tid - 1;
  const members = new Members(store, copies, rootImage, options.random ?? new SystemRandom());
  const { pfsBlock } = options;
  if (pfsBlock !== undefined) await untilLoaded(() => replacePfs(store, rootImage, pfsBlock));
  const state = new PfsState(store, rootImage);
  await untilLoaded(() => state.pfs());
  const parts = { copies, store, state, rootImage, roots: rings, members };
  const intent = readOnly || options.journal === undefined ? undefined : beginLog(parts, options, options.journal);
  const volume = new Volume(
    { ...parts, ...(heartbeat && { heartbeat }), ...(intent && { intent }) },
    {
      ...options,
      readOnly,
      ...(tooFew !== undefined && { readOnlyReason: tooFew }),
    },
  );
  const onResult = (requestId: number, result: OperationResult): void => volume.noteReplayed(requestId, result);
  const replayPending = async (): Promise<boolean> => {
    if (pending === undefined || pending.records.length === 0) return false;
    adopted = await replay(pending, { store, state, copies, readOnly, onResult });
    return true;
  };
  let adopted: ReadonlySet<string> = new Set();
  if (readOnly) await replayPending();
  else {
    // A log with nothing in it goes on as it is, and keeps its place.
    const resumeLog = (): boolean => pending?.isEmpty === true && intent?.resume(view) === true;
    const resumed = await beginWriting(volume, chosen.lost, options, { replayPending, resumeLog });
    if (resumed) intent?.prepare();
    if (pending !== undefined && !resumed) releasePending(pending, store, adopted);
    if (options.takeOver !== true) await finishReleases(volume);
    if (options.renewRings === true) await renewRings(volume, rings);
  }
  return volume;
}

/** Why the volume can't be written to: fewer copies are complete than it asks for, and nobody said that this will do. */
function tooFewCopies(
  root: DataView,
  chosen: ChosenRoot,
  { degraded, forcedMaster }: ChoosePolicy,
): string | undefined {
  const left = bitCount(rootInSync(root) & ~chosen.lost);
  const needed = rootMinCopies(root);
  if (left >= needed || degraded === true || forcedMaster !== undefined) return undefined;
  return `${left} of the ${needed} copies needed are complete; give more of them, or mount with -o degraded to write nevertheless`;
}

/**
 * Members of the in-sync set that are not here are left behind, under a new epoch, before anything is changed (I2). So are
 * the later states of a copy that was made master by force, even if nobody leaves (I6). A root that a crash kept from some
 * copies is made durable on all before anybody sees what it says: no copy alone may go back. In the end the root names a log,
 * so that the first fsync can go into it; true when that is the one that it named before.
 */
async function beginWriting(
  volume: Volume,
  lost: number,
  { forcedMaster }: ChoosePolicy,
  { replayPending, resumeLog }: { readonly replayPending: () => Promise<boolean>; readonly resumeLog: () => boolean },
): Promise<boolean> {
  const forced = forcedMaster !== undefined;
  if (lost !== 0) {
    volume.members.leave(lost);
    volume.members.acceptFewer();
  } else if (forced) volume.members.beginEpoch();
  const behind = volume.rings.rings.some(
    (ring) => ring.copy.standing === "in-sync" && ringRoots(ring)[0]?.sequence !== volume.sequence,
  );
  const replayed = await replayPending();
  const mustCommit = lost !== 0 || forced || behind || replayed || volume.copies.failed.length > 0;
  await volume.provideLog();
  const resumed = !mustCommit && resumeLog();
  if (mustCommit || (volume.isLogged && !resumed)) await volume.forceCommit();
  return resumed;
}

/** A journal of our own begins with this root; one that is taken over goes on. */
function beginLog(
  parts: Pick<VolumeParts, "store" | "copies" | "rootImage">,
  { random, takeOver }: OpenOptions,
  journal: Journal,
): IntentLog {
  if (takeOver !== true) journal.begin(rootSequence(parts.rootImage.view));
  return new IntentLog(parts, journal, { random: random ?? new SystemRandom(), takesOver: takeOver === true });
}

export function newStore(copies: CopySet, rules: BlockRules, checkType: CheckType, options: VolumeOptions): BlockStore {
  return new BlockStore({ source: copies, rules, checkType, cacheBytes: options.cacheBytes ?? CACHE_BYTES_DEFAULT });
}

/** A root that verifies may still be crafted (I12). */
function checkRootRefs(rules: BlockRules, rootImage: Block): void {
  const { view } = rootImage;
  try {
    rules.refs(view, ROOT_SUPER_OFFSET, BLOCKSET_REFS, RefType.PFS, undefined, 0, Number.MAX_SAFE_INTEGER);
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      rules.refs(view, rootFreemapOffset(copy), 1, RefType.FREEMAP, undefined, 0, Number.MAX_SAFE_INTEGER);
    }
  } catch (error) {
    if (!(error instanceof CorruptBlockStructure) && !(error instanceof RangeError)) throw error;
    throw new FsError("EIO", `the newest root is damaged: ${error.message}; run fsck.h2ts`);
  }
}

/** Puts `bytes` where the root names its first PFS, which is not read. */
function replacePfs(store: BlockStore, rootImage: Block, bytes: Uint8Array): void {
  store.attempt(Claim.DELETING, () => {
    store.release(rootImage, ROOT_SUPER_OFFSET);
    store.create(rootImage, ROOT_SUPER_OFFSET, RefType.PFS, bytes.length).bytes.set(bytes);
  });
}

async function loadSummaries(
  store: BlockStore,
  untilLoaded: UntilLoaded,
  rootImage: Block,
  freemap: Freemap,
): Promise<void> {
  const root = freemapRoot(rootImage, freemap.copy);
  const leaves = leafCount(freemap.sizeKib);
  for (let key = 0; ; ) {
    const ref = await untilLoaded(() => treeCeiling(store, root, key));
    if (ref === undefined) return;
    const { view } = ref.block;
    const index = refKey(view, ref.at);
    if (index >= leaves) throw new FsError("EIO", `the freemap of copy ${freemap.copy} is damaged; run fsck.h2ts -y`);
    freemap.setLeafSummary(index, refFreeKib(view, ref.at), refFreeChunks(view, ref.at));
    key = index + 1;
  }
}

/** Holds back what the older roots of any ring use and the newest has free. */
async function holdOlder(
  store: BlockStore,
  untilLoaded: UntilLoaded,
  rootImage: Block,
  rules: BlockRules,
  chosen: ChosenRoot,
): Promise<void> {
  // One transaction longer than a running volume would: a crash may have left one ring a root behind the others.
  const sequence = rootSequence(rootImage.view) + 1;
  for (const freemap of store.freemaps) {
    if (freemap === undefined) continue;
    const held = new Map<number, Uint32Array>();
    for (const image of chosen.olderImages) {
      const older = imageBlock(image.slice());
      try {
        checkRootRefs(rules, older);
        mergeBits(held, await usedOnlyByOlder(store, untilLoaded, rootImage, older, freemap.copy));
      } catch (error) {
        // An older root whose freemap can't be read is no root anybody could fall back to: it holds nothing.
        if (!(error instanceof Error)) throw error;
      }
    }
    for (const [index, bits] of held) {
      const leaf = await untilLoaded(() => freemap.leaf(index));
      // What a log has was free for it to take: its places are held already.
      holdBits(
        freemap,
        sequence,
        index,
        bits.map((word, i) => word & ~(leaf.held?.[i] ?? 0)),
      );
    }
  }
}

function rebuildFreemaps(
  store: BlockStore,
  rootImage: Block,
  rebuild: NonNullable<OpenOptions["rebuildFreemap"]>,
): void {
  // The old trees are not trusted: the new ones start empty.
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    const at = rootFreemapOffset(copy);
    rootImage.bytes.fill(0, at, at + BLOCKREF_BYTES);
  }
  for (const freemap of store.freemaps) {
    if (freemap === undefined) continue;
    const { words, hold } = rebuild(freemap.copy);
    freemap.fillFrom(words);
    const leafWords = LEAF_WORDS;
    for (let index = 0; index * leafWords < hold.length; index++) {
      const bits = hold.slice(index * leafWords, (index + 1) * leafWords);
      if (!bits.some((word) => word !== 0)) continue;
      const leaf = freemap.leaf(index);
      holdBits(
        freemap,
        rootSequence(rootImage.view) + 1,
        index,
        bits.map((word, i) => word & ~(leaf.words[i] as number)),
      );
    }
  }
}

/** Duplicates of roots that were read in vain. */
const DUPLICATES_LOST: Partial<Record<RingFindingKind, number>> = { "duplicate-lost": 1, "slot-lost": 2 };

/**
 * Three commits write every slot: a damaged one is not left until so many changes have come by themselves. Not where a
 * copy is behind, as after a crash: it must not fall further behind if this is cut short, and its slot is written next.
 */
async function renewRings(volume: Volume, { rings }: RingSet): Promise<void> {
  if (rings.some((ring) => ringRoots(ring)[0]?.sequence !== volume.sequence)) return;
  const damaged = rings.map(({ copy, findings }) => ({
    copy,
    kinds: findings.map(({ kind }) => kind).filter((kind) => kind !== "anchor-damaged"),
  }));
  if (damaged.every(({ kinds }) => kinds.length === 0)) return;
  try {
    for (let slot = 0; slot < ROOT_SLOTS; slot++) await volume.forceCommit();
  } catch {
    return; // The volume has turned read-only, and says why.
  }
  for (const { copy, kinds } of damaged) for (const kind of kinds) copy.repaired += DUPLICATES_LOST[kind] ?? 0;
}

/** Removes what was left without a name, and trims what was left past the end of files, in bounded steps. */
async function finishReleases(volume: Volume): Promise<void> {
  for (let from = 0; ; ) {
    const pending = await volume.view((state) => pendingReleases(state, from));
    if (pending.length === 0) return;
    for (const ino of pending) {
      await finishRelease(volume, ino);
      from = ino + 1;
    }
  }
}

/** A damaged orphan is left for fsck.h2ts: one bad block must not keep the volume from being mounted. */
async function finishRelease(volume: Volume, ino: number): Promise<void> {
  try {
    for (let next: number | undefined = ino; next !== undefined; ) {
      next = (await volume.apply({ op: "release", ino: next })).unfinished;
    }
  } catch (error) {
    if (!(error instanceof FsError) || error.code !== "EIO" || volume.failed) throw error;
  }
}
