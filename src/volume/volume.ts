// A volume in use: the live state in memory, the engine that changes it, the commits that make it durable.
// Opened by src/volume/open.ts, made by src/volume/format-volume.ts.

import type { Clock, Timer } from "../base/clock.ts";
import type { Eventually } from "../base/eventually.ts";
import type { Random } from "../base/random.ts";
import { AssertionError } from "../base/assert.ts";
import { FsError } from "../base/errno.ts";
import { messageOf } from "../base/thrown.ts";
import { type Uuid, formatUuid } from "../base/uuid.ts";
import type { Copy, CopySet } from "../copies/copy-set.ts";
import type { Heartbeat } from "../copies/heartbeat.ts";
import { preparedInTime } from "../copies/new-copy.ts";
import type { RingSet } from "../copies/ring.ts";
import type { OpenTarget } from "../copies/targets.ts";
import { type CopyCounters, NO_ERRORS } from "../format/copy-counters.ts";
import { rootCounters, rootLabel, rootSequence, rootVolumeUuid, setRootCounters } from "../format/root-block.ts";
import { RING_AREA_KIB } from "../format/geometry.ts";
import { HEARTBEAT_BYTES, HEARTBEAT_OFFSET_BYTES } from "../format/heartbeat.ts";
import { pfsInodeCount } from "../format/pfs.ts";
import type { Operation, OperationResult } from "../ops/operation.ts";
import type { Block } from "../tree/block.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import type { BlockStore } from "../tree/store.ts";
import { Committer } from "./committer.ts";
import { CACHE_BYTES_DEFAULT, COMMIT_MS_DEFAULT } from "./defaults.ts";
import type { IntentLog } from "./intent-log.ts";
import type { Members } from "./members.ts";
import { Engine } from "./engine.ts";
import { FreemapFault } from "./freemap-fault.ts";

export interface VolumeOptions {
  readonly clock: Clock;
  /** Bytes of blocks kept in memory; CACHE_BYTES_DEFAULT unless given. */
  readonly cacheBytes?: number;
  readonly readOnly?: boolean;
  /** Why, when nobody asked for it. */
  readonly readOnlyReason?: string;
  /** For new epochs; the system's unless given. */
  readonly random?: Random;
  /** Longest time between a change and the commit that makes it durable; COMMIT_MS_DEFAULT unless given, 0 = only when asked. */
  readonly commitMs?: number;
}

export const CACHE_BYTES_MIN = 8 * 1024 * 1024;

export interface CopySpace {
  readonly index: number;
  readonly sizeKib: number;
  readonly usedKib: number;
  /** What ordinary writes can still take; the reserve is not counted. */
  readonly freeKib: number;
  readonly unusedKib: number;
}

export interface SpaceReport {
  readonly copies: readonly CopySpace[];
  /** Of the copy with the least room. */
  readonly totalKib: number;
  /** Not in use, the reserve included. */
  readonly unusedKib: number;
  readonly freeKib: number;
  readonly inodeCount: number;
}

/** What makes up an open volume. */
export interface VolumeParts {
  readonly copies: CopySet;
  readonly store: BlockStore;
  readonly state: PfsState;
  readonly rootImage: Block;
  readonly roots: RingSet;
  readonly members: Members;
  /** Without one, every barrier is a commit. */
  readonly intent?: IntentLog;
  /** Says that the volume is mounted here; a volume being made, or mounted read-only, needs none. */
  readonly heartbeat?: Heartbeat;
}

export class Volume {
  readonly copies: CopySet;
  readonly store: BlockStore;
  readonly state: PfsState;
  readonly members: Members;
  readonly rings: RingSet;
  readonly #rootImage: Block;
  readonly #committer: Committer;
  readonly #engine: Engine;
  readonly #intent: IntentLog | undefined;
  readonly #heartbeat: Heartbeat | undefined;
  readonly #clock: Clock;
  readonly #commitMs: number;
  #timer: Timer | undefined;
  #readOnlyReason: string | undefined;
  readonly #openedReadOnly: boolean;
  readonly #whyReadOnly: string | undefined;
  #inodeCount = 0;

  constructor(parts: VolumeParts, options: VolumeOptions) {
    this.copies = parts.copies;
    this.store = parts.store;
    this.state = parts.state;
    this.members = parts.members;
    this.rings = parts.roots;
    this.#rootImage = parts.rootImage;
    this.#intent = parts.intent;
    this.#heartbeat = parts.heartbeat;
    this.#clock = options.clock;
    this.#commitMs = options.commitMs ?? COMMIT_MS_DEFAULT;
    this.#openedReadOnly = options.readOnly ?? false;
    this.#whyReadOnly = options.readOnlyReason;
    const cacheBytes = options.cacheBytes ?? CACHE_BYTES_DEFAULT;
    this.copies.onFenced = (error) => this.#turnReadOnly(error);
    const refusal = (): FsError | undefined => this.#refusal();
    this.#committer = new Committer(parts, { refusal, onFailure: (error) => this.#turnReadOnly(error) });
    this.#engine = new Engine(
      parts.state,
      this.#committer,
      parts.intent,
      { commitBytes: cacheBytes / 8, stallBytes: cacheBytes / 3 },
      refusal,
      (error) => {
        // A copy that does not answer just now may have that bitmap.
        if (!(error instanceof FreemapFault && this.copies.awaitsAny)) this.#turnReadOnly(error);
      },
    );
  }

  get uuid(): Uuid {
    return rootVolumeUuid(this.#rootImage.view);
  }

  get label(): string {
    return rootLabel(this.#rootImage.view);
  }

  /** Sequence of the newest sealed root. */
  get sequence(): number {
    return rootSequence(this.#rootImage.view);
  }

  /** The transaction that is open: its commit, or a later one, has what is done now. */
  get transaction(): number {
    return this.store.tid;
  }

  /** Why nothing may be written any more; undefined while all is well. */
  get readOnly(): string | undefined {
    return this.#readOnlyReason ?? (this.#openedReadOnly ? (this.#whyReadOnly ?? "mounted read-only") : undefined);
  }

  /** True when it turned read-only by itself. */
  get failed(): boolean {
    return this.#readOnlyReason !== undefined;
  }

  #turnReadOnly(error: Error): void {
    if (this.#readOnlyReason !== undefined) return;
    this.copies.repairs = false;
    const bug = error instanceof AssertionError || error instanceof TypeError || error instanceof RangeError;
    this.#readOnlyReason = bug ? `internal error: ${error.stack ?? error.message}` : error.message;
  }

  #refusal(): FsError | undefined {
    return this.readOnly === undefined ? undefined : new FsError("EROFS", this.readOnly);
  }

  /** Throws FsError EROFS, with the reason, when nothing may be written: before anything is changed that no commit could follow. */
  refuseReadOnly(): void {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
  }

  /** Turns read-only for a reason found elsewhere, such as a fault in a transport. */
  failWith(error: Error): void {
    this.#turnReadOnly(error);
  }

  /** Runs a read-only `body` over the live state; it may run several times. */
  view<T>(body: (state: PfsState) => T): Eventually<T> {
    return this.#engine.view(body);
  }

  /** Carries out one operation wholly or not at all; the bytes it refers to stay untouched until the answer is there. */
  apply(operation: Operation, requestId = 0): Eventually<OperationResult> {
    const result = this.#engine.apply(operation, requestId);
    this.#scheduleCommit();
    return result;
  }

  /** Keeps what a replayed operation gave, for the request it was the effect of. */
  noteReplayed(requestId: number, result: OperationResult): void {
    this.#intent?.noteResult(requestId, result);
  }

  /** What is to be durable may go into a log instead of a commit. */
  get isLogged(): boolean {
    return this.#intent !== undefined;
  }

  /** Sets room aside for the log, before anybody is served: a root that is sealed from now on names one. */
  async provideLog(): Promise<void> {
    await this.#committer.provideLog();
  }

  /**
   * Every request carried out so far is answered: no process after this one need know what to answer. `all`: none is under way, those
   * included that were given to a process before this one.
   */
  answered(all: boolean): void {
    this.#intent?.answered(all);
  }

  /** Everybody waits until then for reads: a copy that others stand in for is not waited for longer than its deadline (I9). */
  urgeReads(until: Promise<void>): void {
    void this.copies.whenRead(until);
  }

  /** What a process before this one completed for the request; undefined when it did not. */
  replayed(requestId: number): OperationResult | undefined {
    return this.#intent?.result(requestId);
  }

  /** Runs synchronous code outside of any operation until nothing it needs is missing. */
  async untilLoaded<T>(body: () => T): Promise<T> {
    return this.#engine.view(body);
  }

  /** Changes where blocks lie, and nothing else; see Engine.maintain. */
  async maintain<T>(body: (state: PfsState) => T): Promise<T> {
    const result = await this.#engine.maintain(body);
    this.#scheduleCommit();
    return result;
  }

  #scheduleCommit(): void {
    if (this.#timer !== undefined || this.#commitMs === 0) return;
    this.#timer = this.#clock.after(this.#commitMs, () => {
      this.#timer = undefined;
      if (this.#readOnlyReason === undefined) this.#committer.barrier().catch(() => undefined);
    });
  }

  /** Everything completed before is durable on all copies; rejects with EIO when that can't be. */
  async barrier(): Promise<void> {
    if (this.#readOnlyReason !== undefined) throw new FsError("EIO", this.#readOnlyReason);
    if (this.#openedReadOnly) return;
    if (this.#intent === undefined || !(await this.#intent.sync())) await this.#commitAll();
    if (this.failed) throw new FsError("EIO", this.#readOnlyReason);
  }

  async #commitAll(): Promise<void> {
    try {
      await this.#committer.barrier();
    } catch (error) {
      throw new FsError("EIO", messageOf(error));
    }
    if (this.failed) throw new FsError("EIO", this.#readOnlyReason);
  }

  /** What was completed after the newest root is carried out: from now on commits are made, by itself too when a copy fails. */
  allowCommits(): void {
    this.#committer.allow();
  }

  /**
   * A commit even when nothing changed: fills the next slot of the root ring. Throws FsError EROFS on a volume that can only be read:
   * one with too few complete copies gets no root (I2).
   */
  async forceCommit(): Promise<void> {
    await this.#committer.force();
  }

  /**
   * Changes who belongs to the volume: `body` runs while no commit is under way, and when this resolves what it did is
   * durable. What it throws, before it changed anything, is passed on; FsError EROFS as by `forceCommit`.
   */
  async changeMembers(body: () => void): Promise<void> {
    await this.#committer.force(body);
  }

  /**
   * Lets calls go on that are held for these frozen nodes of a copy. Rejects with CopiesError when it can't be made sure in time
   * that it is still ours (I11): then it stays frozen.
   */
  async thaw(copy: Copy, nodes: readonly number[]): Promise<void> {
    if (copy.holds(HEARTBEAT_OFFSET_BYTES, HEARTBEAT_BYTES) && nodes.includes(0)) await this.#heartbeat?.renew(copy);
    this.copies.thaw(copy, nodes);
  }

  /**
   * To be called before a copy joins, and before its ring is read: nobody else writes to it from then on (I11). Rejects with CopiesError or
   * DeviceError when that can't be made sure; this takes a lease if another host may have it, and no time for one that is locked here.
   */
  async admit(copy: Copy): Promise<void> {
    await this.#heartbeat?.admit(copy);
  }

  /**
   * To be called before anything is written to a target that becomes a copy, or a node of one. Rejects with CopiesError when another host
   * uses a device of it (I11), which takes a lease where a heartbeat was left behind; DeviceError when one can't be read.
   */
  async refuseInUse(target: OpenTarget): Promise<void> {
    await this.#heartbeat?.refuseInUse(target, (look) => preparedInTime(target.name, this.copies.clock, look));
  }

  /** What `work` on a target gives that does not belong to the volume yet. Rejects with CopiesError "busy" when it does not answer. */
  preparing<T>(target: OpenTarget, work: Promise<T>): Promise<T> {
    const { clock, deadlineMs } = this.copies;
    const prepared = preparedInTime(target.name, clock, work);
    return this.#heartbeat?.unlessClosing(target, prepared, deadlineMs) ?? prepared;
  }

  /** A copy that was admitted does not join. Before its devices are closed. */
  async dismiss(copy: Copy): Promise<void> {
    await this.#heartbeat?.dismiss(copy);
  }

  /** Whoever waits for a copy to be admitted is told soon that it is not: the volume is about to be closed. */
  admitNoMore(): void {
    this.#heartbeat?.admitNoMore();
  }

  /** Commits what is left and stops; the copies stay open. Rejects when something completed could not be made durable. */
  async close(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    try {
      if (this.#readOnlyReason !== undefined) throw new FsError("EIO", this.#readOnlyReason);
      if (!this.#openedReadOnly) await this.#commitAll();
    } finally {
      await this.#heartbeat?.release();
    }
  }

  /** Makes durable what copies met since the last commit, as bad reads: reading alone leads to no commit. */
  async noteErrors(): Promise<void> {
    if (this.readOnly !== undefined) return;
    const unnoted = this.copies.copies.some(({ index, errors, repaired }) => {
      const noted = rootCounters(this.#rootImage.view, index);
      return errors.read > noted.read || errors.checksum > noted.checksum || repaired > noted.repaired;
    });
    if (unnoted) await this.forceCommit();
  }

  /** What went wrong so far on the copy with this index, at hand or not. */
  countersOf(index: number): CopyCounters {
    return this.copies.copy(index)?.counters ?? rootCounters(this.#rootImage.view, index);
  }

  /**
   * Has the copies with these indices, at hand or not, count errors anew from 0; no process after this one knows better when it
   * resolves. Resolves with what they had counted. FsError EROFS as by `forceCommit`.
   */
  async clearErrors(indices: readonly number[]): Promise<ReadonlyMap<number, CopyCounters>> {
    const counted = new Map<number, CopyCounters>();
    await this.#committer.force(() => {
      for (const index of indices) {
        counted.set(index, this.countersOf(index));
        this.copies.copy(index)?.clearCounters();
        // Of one that is away the root alone tells; and one that returns goes on from there.
        setRootCounters(this.#rootImage.view, index, NO_ERRORS);
      }
    });
    return counted;
  }

  statfs(): SpaceReport {
    const copies: CopySpace[] = [];
    for (const freemap of this.store.freemaps) {
      if (freemap === undefined) continue;
      const { sizeKib } = freemap;
      const usableKib = sizeKib - 2 * RING_AREA_KIB;
      copies.push({
        index: freemap.copy,
        sizeKib,
        usedKib: Math.max(0, usableKib - freemap.unusedKib),
        freeKib: freemap.freeKib,
        unusedKib: freemap.unusedKib,
      });
    }
    const inSync = copies.filter(({ index }) => (this.members.inSync & (1 << index)) !== 0);
    const tightest = inSync.reduce((least, copy) => (copy.freeKib < least.freeKib ? copy : least));
    return {
      copies,
      totalKib: tightest.sizeKib - 2 * RING_AREA_KIB,
      unusedKib: tightest.unusedKib,
      freeKib: tightest.freeKib,
      inodeCount: this.#countInodes(),
    };
  }

  /** The number is in the PFS block, which is nearly always in memory; otherwise the last one known is good enough. */
  #countInodes(): number {
    const count = this.view((state) => pfsInodeCount(state.pfs().view));
    if (typeof count === "number") this.#inodeCount = count;
    else count.then((value) => (this.#inodeCount = value)).catch(() => undefined);
    return this.#inodeCount;
  }

  /** One line for messages: label or UUID. */
  get title(): string {
    return this.label === "" ? formatUuid(this.uuid) : this.label;
  }

  /** Bytes of the in-memory cache in use. */
  get cachedBytes(): number {
    return this.store.cachedBytes;
  }

  /** The live root image: what the next root will say. */
  get rootImage(): Block {
    return this.#rootImage;
  }
}
