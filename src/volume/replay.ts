// Replay: what was completed after the newest root, carried out again from its records, before anybody is served. A pure
// function of root and records, committed as one (I4). The places that records name are claimed before anything is
// allocated (trap 4); past what is known to be flushed each named block is verified on every copy, made good where it is
// bad, and where no copy has it the log ends (trap 4a); where requests are sent again, only that record is left out, if nobody was
// answered. A volume that can only be read gets the same state, in memory.

import { FsError } from "../base/errno.ts";
import { formatUuid } from "../base/uuid.ts";
import type { BlockRead, Copy, CopySet } from "../copies/copy-set.ts";
import { CopiesError, UnreadableError } from "../copies/errors.ts";
import { DATA_WINDOW_BYTES, KIB } from "../format/geometry.ts";
import { LOG_SEGMENT_KIB } from "../format/log-frame.ts";
import { rootInSync, rootSequence } from "../format/root-block.ts";
import { rootLogHead } from "../format/root-log.ts";
import { Claim } from "../freemap/freemap.ts";
import type { Journal } from "../log/journal.ts";
import { readLog } from "../log/read-log.ts";
import { execute } from "../ops/execute.ts";
import type { Operation, OperationResult } from "../ops/operation.ts";
import { type Recorded, readRecords } from "../ops/record.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import type { EarlyBlock } from "../tree/early-block.ts";
import type { BlockStore } from "../tree/store.ts";
import { FreemapFault } from "./freemap-fault.ts";

/** A run of one copy. */
interface Place {
  readonly copy: number;
  readonly kib: number;
  readonly sizeKib: number;
}

/** What goes on from a root. */
export interface PendingLog {
  readonly records: readonly Recorded[];
  /** Bytes of its stream whose named blocks need no look. */
  readonly sureBytes: number;
  /** The log was read from media, and there is nothing in it, not even a part of a record. */
  readonly isEmpty: boolean;
  /** Where the records begin that nobody was answered yet because their blocks were on the way: those requests are sent again. */
  readonly waiting: ReadonlySet<number> | undefined;
  /** Bytes of its stream whose requests were answered. */
  readonly answeredBytes: number;
  /** Bytes of its stream that were flushed on every copy, with what they name: whoever asked for that was told so. */
  readonly flushedBytes: number;
  /** Places that are not to be given out before the replay is committed. */
  readonly claimed: Place[];
}

/** As it was found: with the places of its segments, by copy. */
interface FoundLog extends PendingLog {
  readonly segments: readonly (readonly number[])[];
}

/**
 * What was completed after the root in `root`: by the journal of the process before us, or by the logs on media. Throws CopiesError
 * when the journal does not know this root, the one that it does being elsewhere; UnreadableError when acknowledged records can't be read.
 */
export async function findPending(
  root: DataView,
  copies: CopySet,
  { journal, dropLost }: { readonly journal: Journal | undefined; readonly dropLost: boolean },
): Promise<FoundLog | undefined> {
  const inSync = copies.copies.filter(({ standing, failure }) => standing === "in-sync" && failure === undefined);
  const isLogOnly = journal?.hasRecords !== true;
  const found = await readLog(
    root,
    inSync.map((copy) => copies.alone(copy)),
    // What a journal has need not be in the log: of that only the places count then.
    dropLost || !isLogOnly,
  );
  const segments = found?.segments ?? [];
  const kept = journal?.after(root);
  if (journal !== undefined && kept === undefined) {
    const volume = `volume ${formatUuid(copies.volumeUuid)}`;
    const detail = `the journal of this mount does not go on from root ${rootSequence(root)}; mount again`;
    throw new CopiesError("no-root", volume, detail);
  }
  if (kept === undefined || isLogOnly) {
    if (found === undefined) return undefined;
    const sureBytes = dropLost ? 0 : found.sureBytes;
    return {
      records: [...readRecords(found.stream)],
      sureBytes,
      isEmpty: found.stream.length === 0 && !dropLost,
      waiting: undefined,
      answeredBytes: 0,
      flushedBytes: found.sureBytes,
      segments,
      claimed: [],
    };
  }
  const { stream, landedBytes: sureBytes, answeredBytes, waiting } = kept;
  return {
    records: [...readRecords(stream)],
    sureBytes,
    isEmpty: false,
    waiting,
    answeredBytes,
    flushedBytes: sureBytes,
    segments,
    claimed: [],
  };
}

/** A log goes on from its root for a commit and what had to be given up of it: transactions farther ahead are crafted (I12). */
const TRANSACTIONS_AHEAD_MAX = 1024;

/** The newest transaction that any record names: inodes keep it. `open`: the one open now. Throws FsError EIO for nonsense. */
export function newestTransaction({ records }: PendingLog, open: number): number {
  let newest = 0;
  for (const { operation } of records) {
    if (operation?.op === "create" && operation.generation !== undefined) {
      newest = Math.max(newest, operation.generation);
      if (operation.generation < 0) newest = Infinity;
    }
  }
  if (newest <= open + TRANSACTIONS_AHEAD_MAX) return newest;
  throw new FsError("EIO", "the log names a transaction that never was; run fsck.h2ts");
}

/**
 * Sets aside every place that the log has or names, on the copies at hand. Throws FreemapFault when a bitmap can't be read, and FsError EIO
 * when a place is in use; of a log without operations such a place is left, and the log is not gone on with (`headIsClaimed`).
 */
export async function claimPending(pending: FoundLog, store: BlockStore, copies: CopySet): Promise<void> {
  const { claimed } = pending;
  const places = [...placesIn(pending)].filter(
    ({ copy, kib, sizeKib }) =>
      store.freemaps[copy] !== undefined && copies.copy(copy)?.placeRefusal(kib, sizeKib * KIB) === undefined,
  );
  // Goes on after a miss with the place that lacked its bitmap leaf.
  let next = 0;
  await store.untilLoaded(() => {
    for (; next < places.length; next++) {
      const place = places[next] as Place;
      const { copy, kib, sizeKib } = place;
      if (store.freemap(copy).reserveAt(kib, sizeKib)) claimed.push(place);
      else if (pending.records.length > 0)
        throw new FsError("EIO", `copy ${copy}: the log names KiB ${kib}, which is in use; run fsck.h2ts`);
    }
  });
}

/** True when the first segment of the log that `root` names is set aside on every copy in sync: anything else is never written to (I12). */
export function headIsClaimed({ claimed }: PendingLog, root: DataView): boolean {
  const inSync = rootInSync(root);
  return rootLogHead(root).every(
    (kib, copy) => (inSync & (1 << copy)) === 0 || claimed.some((place) => place.copy === copy && place.kib === kib),
  );
}

function* placesIn(pending: FoundLog): Generator<Place> {
  for (const [copy, places] of pending.segments.entries())
    for (const kib of places) if (kib !== 0) yield { copy, kib, sizeKib: LOG_SEGMENT_KIB };
  for (const { early } of pending.records) {
    for (const { pointers } of early) {
      for (const [copy, kib] of pointers.entries())
        if (kib !== 0) yield { copy, kib, sizeKib: DATA_WINDOW_BYTES / KIB };
    }
  }
}

/** Gives back what no ref names after all. For after the commit: nothing needs the log then. */
export function releasePending(pending: PendingLog, store: BlockStore, adopted: ReadonlySet<string>): void {
  for (const { copy, kib, sizeKib } of pending.claimed) {
    if (!adopted.has(placeKey(copy, kib))) store.freemaps[copy]?.endReservation(kib, sizeKib, false);
  }
}

const LOSS_ADVICE = "the log goes on from it: give all copies, or run fsck.h2ts -y";

const ANSWERED_ADVICE =
  "file data that a program was told is written can't be read from any copy at hand; unmount, and mount again with all copies";

const placeKey = (copy: number, kib: number): string => `${copy}:${kib}`;

/** Thrown inside an operation whose blocks came to lie otherwise than when it was carried out first. */
class LiesOtherwise extends Error {}

export interface ReplayParts {
  readonly store: BlockStore;
  readonly state: PfsState;
  readonly copies: CopySet;
  readonly readOnly: boolean;
  /** The log ends before what takes a block that no copy at hand has, or does not fit the tree; else that is refused. */
  readonly endsAtLoss: boolean;
  /** Told where that is: how many operations of how many are not carried out, and why. */
  readonly onDropped: (dropped: number, waiting: number, reason: string) => void;
  /** Told of what each operation gave that belongs to a request of the kernel's. */
  readonly onResult: (requestId: number, result: OperationResult) => void;
}

/**
 * Carries the records out; returns the places that refs name now. Throws UnreadableError when that takes a block that no copy at
 * hand has, FsError when a record does not fit the root, NoSpace and FreemapFault when nothing is wrong with it.
 */
export async function replay(pending: PendingLog, parts: ReplayParts): Promise<ReadonlySet<string>> {
  const adopted = new Set<string>();
  const drop = (from: number, reason: string): void => {
    const [dropped, waiting] = [countOperations(pending, from), countOperations(pending)];
    parts.onDropped(dropped, waiting, reason);
  };
  for (const [index, record] of pending.records.entries()) {
    const { operation, requestId, endBytes } = record;
    let { result } = record;
    if (operation !== undefined) {
      const early = await soundBlocks(record, pending, parts);
      if (early === undefined) {
        if (pending.waiting === undefined) {
          if (endBytes <= pending.flushedBytes) drop(index, "no copy has the file data that it names");
          return adopted;
        }
        // Nobody was answered: the kernel asks again. What came after it may have been answered.
        if (pending.waiting.has(record.beginBytes)) continue;
        throw new UnreadableError(ANSWERED_ADVICE);
      }
      try {
        result = await carryOut(operation, early, parts, adopted);
      } catch (error) {
        // Nothing is wrong with the log then.
        if (!(error instanceof FsError) || error instanceof FreemapFault) throw error;
        if (parts.endsAtLoss) {
          drop(index, error.message);
          return adopted;
        }
        throw error instanceof UnreadableError ? new UnreadableError(`${error.message}; ${LOSS_ADVICE}`) : error;
      }
    }
    // Only in the mount that the request came from: in another one the kernel's ids begin again (trap 4b).
    const isSameMount = pending.waiting !== undefined;
    const owed = isSameMount && requestId !== 0 && (endBytes > pending.answeredBytes || operation === undefined);
    if (owed && result !== undefined) parts.onResult(requestId, result);
  }
  return adopted;
}

/** Completed operations among the records from `from` on. */
export function countOperations({ records }: PendingLog, from = 0): number {
  return records.slice(from).filter(({ operation }) => operation !== undefined).length;
}

async function carryOut(
  operation: Operation,
  early: readonly EarlyBlock[],
  parts: ReplayParts,
  adopted: Set<string>,
): Promise<OperationResult> {
  const { store, state } = parts;
  // A copy that was taken out, with no root yet to say so, is in sync again: what was written meanwhile has no place on it (I1).
  if (early.some((block) => lacksCopy(block, store.inSync))) return carryOutWhole(operation, early, parts);
  try {
    const result = await again(store, () => {
      for (const block of early) store.early.adoptable.set(block.key, block);
      const carriedOut = execute(state, operation);
      if (store.early.adoptable.size > 0) throw new LiesOtherwise();
      return carriedOut;
    });
    for (const { pointers } of early) {
      for (const [copy, kib] of pointers.entries()) if (kib !== 0) adopted.add(placeKey(copy, kib));
    }
    return result;
  } catch (error) {
    store.early.adoptable.clear();
    if (!(error instanceof LiesOtherwise)) throw error;
  }
  return carryOutWhole(operation, early, parts);
}

/** True when the block has no place on some copy of `mask`. */
const lacksCopy = ({ pointers }: EarlyBlock, mask: number): boolean =>
  pointers.some((kib, copy) => kib === 0 && (mask & (1 << copy)) !== 0);

/** As any other write, to places of its own on all copies. */
async function carryOutWhole(
  operation: Operation,
  early: readonly EarlyBlock[],
  parts: ReplayParts,
): Promise<OperationResult> {
  const whole = await withContent(operation, early, parts);
  return again(parts.store, () => execute(parts.state, whole));
}

/** Runs `body` as one operation that may use all of the reserve, until nothing it needs is missing. */
function again<T>(store: BlockStore, body: () => T): Promise<T> {
  return store.untilLoaded(() => store.attempt(Claim.COMMIT, body));
}

/** The write with all of its content, from the blocks that its record names. */
async function withContent(operation: Operation, early: readonly EarlyBlock[], parts: ReplayParts): Promise<Operation> {
  if (operation.op !== "write") return operation;
  const { checkType } = parts.store;
  const requests = early.map(({ pointers, check }) => ({
    pointers,
    checkType,
    check,
    target: new Uint8Array(DATA_WINDOW_BYTES),
    metadata: false,
  }));
  await parts.copies.readBlocks(requests);
  const data = operation.data.slice();
  for (const [i, { key }] of early.entries()) {
    const request = requests[i] as { target: Uint8Array; error?: Error };
    if (request.error !== undefined) throw new UnreadableError(`a block that the log names: ${request.error.message}`);
    data.set(request.target, key - operation.offset);
  }
  return { ...operation, data };
}

/**
 * The blocks a record names, with pointers to copies in sync at hand only; undefined when one of them is on no copy, which is
 * where the log ends.
 */
async function soundBlocks(
  { early, endBytes }: Recorded,
  { sureBytes, waiting }: PendingLog,
  parts: ReplayParts,
): Promise<EarlyBlock[] | undefined> {
  const sound = early.map((block) => {
    const pointers = block.pointers.map((kib, copy) => {
      const at = parts.copies.copy(copy);
      const usable = at?.standing === "in-sync" && at.placeRefusal(kib, DATA_WINDOW_BYTES) === undefined;
      return usable ? kib : 0;
    });
    return { ...block, pointers };
  });
  if (sound.some(({ pointers }) => pointers.every((kib) => kib === 0))) return undefined;
  // What a server was given and did not flush goes with it; nobody is left who would send it again.
  const isFar = ({ pointers }: EarlyBlock): boolean =>
    waiting !== undefined && pointers.some((kib, copy) => kib !== 0 && isElsewhere(parts.copies.copy(copy)));
  const doubtful = sound.filter((block) => endBytes > sureBytes || isFar(block));
  const good = await Promise.all(doubtful.map((block) => madeGood(block, parts)));
  return good.every((isGood) => isGood) ? sound : undefined;
}

const isElsewhere = (copy: Copy | undefined): boolean => copy?.device.distanceMs !== undefined;

/** Looks at a block on every copy and writes it where it is bad, which needs no place but its own. False when no copy has it. */
async function madeGood({ pointers, check }: EarlyBlock, parts: ReplayParts): Promise<boolean> {
  const { copies, store } = parts;
  const bad: number[] = [];
  let good: Uint8Array | undefined;
  for (const [index, kib] of pointers.entries()) {
    const copy = copies.copy(index);
    if (kib === 0 || copy === undefined) continue;
    const target = new Uint8Array(DATA_WINDOW_BYTES);
    const read: BlockRead = { pointers, checkType: store.checkType, check, target, metadata: false };
    await copies.alone(copy).readBlocks([read]);
    if (read.error === undefined) good = target;
    else bad.push(index);
  }
  if (good === undefined) return false;
  if (bad.length === 0 || parts.readOnly) return true;
  await copies.writeBlocks([{ pointers: pointers.map((kib, copy) => (bad.includes(copy) ? kib : 0)), bytes: good }]);
  return true;
}
