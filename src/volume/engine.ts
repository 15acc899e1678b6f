// The engine: synchronous code over verified blocks in memory, run again after a miss. A request that finds
// everything in memory is answered without a promise; one that does not waits for its blocks, pinned, and repeats all
// its checks. An operation happens wholly or not at all. Room: what is freed becomes usable only after later roots
// (I3), so an operation short of room forces up to three commits before it is refused with ENOSPC.

import { AssertionError } from "../base/assert.ts";
import { FsError } from "../base/errno.ts";
import type { Eventually } from "../base/eventually.ts";
import { messageOf } from "../base/thrown.ts";
import { KIB } from "../format/geometry.ts";
import { Claim } from "../freemap/freemap.ts";
import { execute } from "../ops/execute.ts";
import { type Operation, type OperationResult, givesSpaceBack } from "../ops/operation.ts";
import type { Block } from "../tree/block.ts";
import { MISS, NoSpace } from "../tree/miss.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import type { Committer } from "./committer.ts";
import { FreemapFault } from "./freemap-fault.ts";
import type { IntentLog } from "./intent-log.ts";

const FORCED_COMMITS_MAX = 3;
/** What one operation may add to the narrow blocks that are not durable: a write of the kernel's at most. */
const NARROW_OPERATION_BYTES = 1024 * 1024;
/** Data on its way to the copies above which writers wait. */
const EARLY_BYTES_MAX = 32 * 1024 * 1024;

export interface EngineLimits {
  /** Dirty bytes at which a commit begins, and at which writers wait for it. */
  readonly commitBytes: number;
  readonly stallBytes: number;
}

export class Engine {
  readonly #state: PfsState;
  readonly #committer: Committer;
  readonly #intent: IntentLog | undefined;
  readonly #limits: EngineLimits;
  /** Why nothing may be changed any more. */
  readonly #refusal: () => FsError | undefined;
  readonly #onBroken: (error: Error) => void;

  constructor(
    state: PfsState,
    committer: Committer,
    intent: IntentLog | undefined,
    limits: EngineLimits,
    refusal: () => FsError | undefined,
    onBroken: (error: Error) => void,
  ) {
    this.#state = state;
    this.#committer = committer;
    this.#intent = intent;
    this.#limits = limits;
    this.#refusal = refusal;
    this.#onBroken = onBroken;
  }

  /** Runs a read-only `body` over the live state, again after every miss. */
  view<T>(body: (state: PfsState) => T): Eventually<T> {
    try {
      const result = body(this.#state);
      if (this.#state.store.hasQueuedLoads) this.#readAhead();
      return result;
    } catch (error) {
      if (error === MISS) return this.#viewLater(body);
      throw this.#asFsError(error);
    }
  }

  async #viewLater<T>(body: (state: PfsState) => T): Promise<T> {
    const pinned: Block[] = [];
    try {
      for (;;) {
        await this.#state.store.load(pinned);
        try {
          const result = body(this.#state);
          if (this.#state.store.hasQueuedLoads) this.#readAhead();
          return result;
        } catch (error) {
          if (error !== MISS) throw this.#asFsError(error);
        }
      }
    } finally {
      this.#state.store.unpin(pinned);
    }
  }

  /** Loads what was queued for later; nobody waits for it. */
  #readAhead(): void {
    const pinned: Block[] = [];
    const { store } = this.#state;
    store.load(pinned).then(
      () => store.unpin(pinned),
      (error: unknown) => this.#asFsError(error),
    );
  }

  /**
   * Carries out one operation, atomically. `requestId`: the kernel's id of the request that it is the effect of; 0 when
   * carrying that out twice would do no harm.
   */
  apply(operation: Operation, requestId: number): Eventually<OperationResult> {
    const refusal = this.#refusal();
    if (refusal !== undefined) throw refusal;
    if (this.#mustWait()) return this.#applyLater(operation, requestId, undefined);
    try {
      return this.#attempt(operation, requestId);
    } catch (error) {
      if (error === MISS || error instanceof NoSpace) return this.#applyLater(operation, requestId, error);
      throw this.#asFsError(error);
    }
  }

  /**
   * Runs `body`, which moves blocks and changes pointers but nothing that a program could see, wholly or not at all, again
   * after every miss. Throws FsError ENOSPC when the copies in sync have no room for the way down to a block.
   */
  async maintain<T>(body: (state: PfsState) => T): Promise<T> {
    const pinned: Block[] = [];
    const { store } = this.#state;
    try {
      for (let forced = 0; ; ) {
        while (this.#mustWait()) await this.#wait();
        const refusal = this.#refusal();
        if (refusal !== undefined) throw refusal;
        try {
          const result = this.#wholly(Claim.DELETING, () => body(this.#state));
          this.#committer.noteChange();
          if (store.hasQueuedLoads) this.#readAhead();
          return result;
        } catch (error) {
          if (error === MISS) await store.load(pinned);
          else if (error instanceof NoSpace && forced++ < FORCED_COMMITS_MAX && this.#commitMakesRoom()) {
            await this.#durably(() => this.#committer.force());
          } else throw this.#asFsError(error);
        }
      }
    } finally {
      store.unpin(pinned);
    }
  }

  async #applyLater(operation: Operation, requestId: number, reason: unknown): Promise<OperationResult> {
    const pinned: Block[] = [];
    let forced = 0;
    try {
      for (let why = reason; ; ) {
        if (why === MISS) await this.#state.store.load(pinned);
        else if (why instanceof NoSpace) {
          if (forced++ === FORCED_COMMITS_MAX || !this.#commitMakesRoom()) throw new FsError("ENOSPC");
          await this.#durably(() => this.#committer.force());
        }
        while (this.#mustWait()) await this.#wait();
        const refusal = this.#refusal();
        if (refusal !== undefined) throw refusal;
        try {
          return await this.#attempt(operation, requestId);
        } catch (error) {
          if (error !== MISS && !(error instanceof NoSpace)) throw this.#asFsError(error);
          why = error;
        }
      }
    } finally {
      this.#state.store.unpin(pinned);
    }
  }

  #attempt(operation: Operation, requestId: number): Eventually<OperationResult> {
    const claim = givesSpaceBack(operation) ? Claim.DELETING : Claim.ORDINARY;
    const result = this.#wholly(claim, () => execute(this.#state, operation));
    this.#committer.noteChange();
    const arrived = this.#intent?.record(operation, requestId);
    if (this.#wantsCommit() && !this.#committer.isRunning) {
      this.#committer.barrier().catch(() => undefined); // The failure is kept and turns the volume read-only.
    }
    return arrived?.then(() => result) ?? result;
  }

  /**
   * Runs `body` wholly or not at all. Throws NoSpace, as where there is no room, when narrow data that is not durable could
   * not be saved any more if its copy failed: there is too much of it, or `body` took the room (I10).
   */
  #wholly<T>(claim: Claim, body: () => T): T {
    return this.#state.store.attempt(claim, () => {
      const result = body();
      const { narrowBytes } = this.#state.store;
      if (narrowBytes > 0 && narrowBytes > this.#narrowRoomBytes())
        throw new NoSpace("no room for narrow data if its copy failed");
      return result;
    });
  }

  /** A commit makes what was freed usable again, and narrow data durable. */
  #commitMakesRoom(): boolean {
    const { freemaps, narrowBytes } = this.#state.store;
    return narrowBytes > 0 || freemaps.some((freemap) => freemap?.hasDeferred);
  }

  #wantsCommit(): boolean {
    return this.#state.store.dirtyBytes > this.#limits.commitBytes || (this.#intent?.journal.wantsCommit ?? false);
  }

  #mustWait(): boolean {
    return (
      this.#state.store.dirtyBytes > this.#limits.stallBytes ||
      this.#committer.earlyBytes > EARLY_BYTES_MAX ||
      this.#narrowTooMuch() ||
      (this.#intent?.journal.isFull ?? false)
    );
  }

  /** True when the next operation may add more narrow data than would find room if its copy failed now (I9). */
  #narrowTooMuch(): boolean {
    const { narrowBytes } = this.#state.store;
    return narrowBytes > 0 && narrowBytes + NARROW_OPERATION_BYTES > this.#narrowRoomBytes();
  }

  /**
   * How much narrow data may be not durable yet: whichever copy fails, there is another one with as much room as the second
   * roomiest has. Half of that is left to the commit that brings it there.
   */
  #narrowRoomBytes(): number {
    const { freemaps, inSync } = this.#state.store;
    const rooms = freemaps.flatMap((map) => (map && (inSync & (1 << map.copy)) !== 0 ? [map.wholeKib * KIB] : []));
    const [, room] = rooms.sort((a, b) => b - a);
    return room === undefined ? Infinity : room / 2;
  }

  async #wait(): Promise<void> {
    if (this.#refusal() !== undefined) throw this.#refusal();
    if (this.#committer.earlyBytes > EARLY_BYTES_MAX) await this.#committer.someEarlyWrite();
    else await this.#durably(() => this.#committer.barrier());
  }

  async #durably(commit: () => Promise<void>): Promise<void> {
    try {
      await commit();
    } catch (error) {
      throw new FsError("EIO", messageOf(error));
    }
  }

  /**
   * Turns what went wrong into an errno. What ends writing: an assertion, which means that we are wrong, and a bitmap that can't be read,
   * twice in turn.
   */
  #asFsError(error: unknown): Error {
    // Who comes next is not to wait for what was asked for here (I9).
    if (this.#state.store.hasQueuedLoads) this.#readAhead();
    if (error instanceof FreemapFault && error.isRepeated) this.#onBroken(error);
    if (error instanceof FsError) return error;
    if (error instanceof NoSpace) return new FsError("ENOSPC");
    if (error instanceof AssertionError || error instanceof TypeError || error instanceof RangeError) {
      this.#onBroken(error);
    }
    return new FsError("EIO", messageOf(error));
  }
}
