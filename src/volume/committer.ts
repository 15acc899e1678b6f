// Commits: one transaction group becoming durable. Order (I2): seal; blocks to all copies; flush all; root to all; flush
// all; only then whoever waits is answered and deferred frees are let go (I3). One commit runs at a time; operations go
// on in the next transaction meanwhile, and everybody who asks for one during a commit shares the next one.
// A copy that fails is dropped: before the first root write the commit is given up and begun again without it, after
// that it is finished on the others and another one follows. Nobody is answered before the root that says so, with its
// new epoch, is durable on all that remain. With too few left the volume turns read-only.

import { assert } from "../base/assert.ts";
import { asError } from "../base/thrown.ts";
import type { Copy, CopySet } from "../copies/copy-set.ts";
import { ROOT_SLOTS } from "../format/geometry.ts";
import { ROOT_BYTES, rootInSync, rootSequence, setRootCounters } from "../format/root-block.ts";
import { setRootSequence } from "../format/root-history.ts";
import { setRootLog } from "../format/root-log.ts";
import type { Block } from "../tree/block.ts";
import { MISS } from "../tree/miss.ts";
import type { PendingWrite } from "../tree/pending-write.ts";
import type { BlockStore } from "../tree/store.ts";
import { placeStranded } from "./drop-copy.ts";
import { fillLeaves, relocateLeaves } from "./freemap-trees.ts";
import type { IntentLog } from "./intent-log.ts";
import type { Members } from "./members.ts";
import { sealAll } from "./seal.ts";

/** Writes a sealed root image to the next slot of every active copy's ring, not yet flushed. Implemented by src/copies. */
export interface RootWriter {
  write(image: Uint8Array): Promise<void>;
}

/** Most bytes handed to the copies in one call of a commit. */
const BATCH_BYTES = 4 * 1024 * 1024;

interface RootImage {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** A sealed transaction: what its commit has to make durable. */
interface SealedCommit {
  readonly tid: number;
  readonly writes: readonly PendingWrite[];
  /** Early writes that were under way at the seal. */
  readonly early: readonly Promise<void>[];
  readonly image: RootImage;
  /** Copies that are in sync by this root, and were not by the one before. */
  readonly joining: readonly Copy[];
}

export class Committer {
  readonly #store: BlockStore;
  readonly #copies: CopySet;
  readonly #roots: RootWriter;
  readonly #rootImage: Block;
  readonly #members: Members;
  readonly #intent: IntentLog | undefined;
  readonly #early = new Set<Promise<void>>();
  #earlyBytes = 0;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  /** What commits given up have sealed. */
  readonly #givenUp: PendingWrite[] = [];
  /** Something completed since the last seal. */
  #changed = false;
  /** Transactions of the roots made durable, newest last: as many as a ring holds. */
  readonly #durableTids: number[] = [];
  #failure: Error | undefined;
  readonly #refusal: () => Error | undefined;
  readonly #onFailure: (error: Error) => void;
  /** False while what was completed after the newest root is being carried out again. */
  #mayBegin = false;

  constructor(
    parts: {
      readonly store: BlockStore;
      readonly copies: CopySet;
      readonly roots: RootWriter;
      readonly rootImage: Block;
      readonly members: Members;
      /** Absent: what is to be durable is committed. */
      readonly intent?: IntentLog;
    },
    /** `refusal`: why there is to be no commit; told by whoever knows what the volume was opened for. */
    { refusal, onFailure }: { readonly refusal: () => Error | undefined; readonly onFailure: (error: Error) => void },
  ) {
    this.#store = parts.store;
    this.#copies = parts.copies;
    this.#roots = parts.roots;
    this.#rootImage = parts.rootImage;
    this.#members = parts.members;
    this.#intent = parts.intent;
    this.#refusal = refusal;
    this.#onFailure = onFailure;
    this.#store.early.onWrites((writes) => this.#writeEarly(writes));
    this.#copies.onFailure = () => this.#dropSoon();
  }

  /** Why no root may be written any more: a commit failed, or the volume is read-only for whatever reason (I2, I11). */
  get #refused(): Error | undefined {
    return this.#failure ?? this.#refusal();
  }

  #refuse(): void {
    const refused = this.#refused;
    if (refused !== undefined) throw refused;
  }

  /**
   * The state is whole: commits may begin. One before would end the log, or the journal, half way through its replay (I4, trap 6).
   * Copies that failed by now are the caller's to commit without.
   */
  allow(): void {
    this.#mayBegin = true;
  }

  /** A copy failed: a commit without it follows at once, whether or not anything else changed. */
  #dropSoon(): void {
    if (!this.#mayBegin || this.#refused !== undefined) return;
    this.#changed = true;
    if (this.#running === undefined) this.barrier().catch(() => undefined); // The failure is kept and turns the volume read-only.
  }

  /** Says that an operation was completed in the open transaction. */
  noteChange(): void {
    this.#changed = true;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Bytes of data on their way to the copies ahead of the commit. */
  get earlyBytes(): number {
    return this.#earlyBytes;
  }

  #writeEarly(writes: PendingWrite[]): void {
    let bytes = 0;
    for (const write of writes) bytes += write.bytes.length;
    this.#earlyBytes += bytes;
    const done: Promise<void> = this.#copies
      .writeBlocks(writes)
      .catch((error: unknown) => void this.#fail(error)) // An assertion: no copy's failure rejects.
      .finally(() => {
        this.#earlyBytes -= bytes;
        this.#store.written(writes);
        this.#early.delete(done);
      });
    this.#early.add(done);
    this.#intent?.earlyWrites(done);
  }

  /** Resolves when one of the early writes now under way is over. */
  async someEarlyWrite(): Promise<void> {
    if (this.#early.size > 0) await Promise.race(this.#early);
  }

  /** Everything completed before this call is durable on all copies when it resolves; rejects when it can't be. */
  barrier(): Promise<void> {
    const refused = this.#refused;
    if (refused !== undefined) return Promise.reject(refused);
    if (this.#next !== undefined) return this.#next;
    if (this.#running === undefined) return this.#changed ? this.#start() : Promise.resolve();
    if (!this.#changed) return this.#running;
    return (this.#next = this.#startNext());
  }

  /**
   * A commit even if nothing changed: it moves the ring on, which lets deferred frees go. `change` is made when no commit
   * is under way, so that no root already sealed lacks it: that is how the members of a volume are changed. What it throws,
   * before it changed anything, is passed on. Rejects when nothing may be written.
   */
  async force(change?: () => void): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => undefined);
    this.#refuse();
    change?.();
    await this.#start();
  }

  /** Whoever else waited for the commit under way may have begun another one, which then did for us too. */
  async #startNext(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => undefined);
    this.#next = undefined;
    this.#refuse();
    if (this.#changed) await this.#start();
  }

  #start(): Promise<void> {
    assert(this.#running === undefined, "two commits at a time");
    assert(this.#mayBegin, "a commit before the state is whole");
    const running = this.#commit().then(
      () => {
        this.#running = undefined;
        // One that failed after this commit was durable.
        if (this.#copies.failed.length > 0) this.#dropSoon();
      },
      (error: unknown) => {
        this.#running = undefined;
        throw this.#fail(error);
      },
    );
    this.#running = running;
    return running;
  }

  async #commit(): Promise<void> {
    try {
      while (!(await this.#attempt()));
      await this.provideLog();
    } finally {
      this.#intent?.reopen();
    }
    this.#intent?.prepare();
  }

  /** Sets room aside for the log; without room there is none, and every barrier is a commit. Not during a commit. */
  async provideLog(): Promise<void> {
    const intent = this.#intent;
    if (intent === undefined) return;
    await this.#copies.whenRead(this.#store.untilLoaded(() => intent.provide(this.#members.inSync)));
  }

  /**
   * One try at a commit, in the order of I2. True when everything sealed is durable on every copy in sync; false when a copy failed on the
   * way, or the log has no room for what was acknowledged since the seal: then it is to be begun again.
   */
  async #attempt(): Promise<boolean> {
    this.#refuse();
    const sealed = await this.#relocateAndSeal();
    let durable = false;
    try {
      await this.#flushBlocks(sealed);
      this.#refuse();
      const isLogClosed = await this.#closeLog();
      // Before sealed blocks may leave memory: what is on none of the copies left goes to another one.
      if (this.#dropFailed() || !isLogClosed) return false;
      // Once more: that may have taken a while, and from here on the root is on its way.
      this.#refuse();
      await this.#flushRoot(sealed);
      durable = true;
    } finally {
      this.#release(sealed.writes, durable);
    }
    return this.#conclude(sealed);
  }

  /** What relocating leaves is sealed in the same step: an operation in between would change bitmaps once more. */
  async #relocateAndSeal(): Promise<SealedCommit> {
    const pinned: Block[] = [];
    try {
      for (;;) {
        this.#members.dropFailed();
        if (this.#relocated()) break;
        await this.#copies.whenRead(this.#store.load(pinned));
      }
    } finally {
      this.#store.unpin(pinned);
    }
    return this.#seal();
  }

  /** Closes the open transaction and begins the next one. Synchronous, so that it is one moment for every operation. */
  #seal(): SealedCommit {
    const store = this.#store;
    this.#changed = false;
    fillLeaves(store, this.#rootImage);
    const { writes, owed } = sealAll(store, this.#rootImage);
    const joining = this.#members.joining(owed);
    this.#members.beginJoining(joining);
    const { tid } = store;
    assert(tid > rootSequence(this.#rootImage.view), "a transaction id does not rise");
    const image = this.#sealRoot(tid, joining);
    store.tid = tid + 1;
    return { tid, writes, early: [...this.#early], image, joining };
  }

  /** A copy of the root image as it goes to media: with the log that goes on from it, `joining` in sync, and the counters of copies. */
  #sealRoot(tid: number, joining: readonly Copy[]): RootImage {
    const bytes = this.#rootImage.bytes.slice();
    const view = new DataView(bytes.buffer, bytes.byteOffset, ROOT_BYTES);
    setRootSequence(view, tid);
    this.#members.describeJoined(view, joining);
    for (const copy of this.#copies.copies) setRootCounters(view, copy.index, copy.counters);
    if (this.#intent === undefined) setRootLog(view, undefined, []);
    else this.#intent.sealed(view, rootInSync(view));
    return { bytes, view };
  }

  /** All sealed blocks, and the early ones, are on media of every copy that has not failed. */
  async #flushBlocks({ writes, early }: SealedCommit): Promise<void> {
    await Promise.all([this.#write(writes), ...early]);
    await this.#copies.flush();
  }

  /** Nobody is answered through the log from now on. False when the root must not be written; see IntentLog.close. */
  async #closeLog(): Promise<boolean> {
    // No root is written now: the log goes on until the commit was begun again.
    if (this.#copies.failed.length > 0) return true;
    return (await this.#intent?.close()) ?? true;
  }

  /** True when a copy failed, which is left behind then: the commit is to be begun again without it. Throws CopiesLostError. */
  #dropFailed(): boolean {
    if (this.#copies.failed.length === 0) return false;
    this.#members.dropFailed();
    return true;
  }

  /** The root is durable on every copy that has not failed; before the first write of it, that it is on its way is noted. */
  async #flushRoot({ tid, image }: SealedCommit): Promise<void> {
    for (const copy of this.#copies.active) copy.flushedTid = tid;
    setRootSequence(this.#rootImage.view, tid);
    this.#members.rootIssued(image.view);
    await this.#roots.write(image.bytes);
    await this.#copies.flush();
    // A read or repair begun before some block was freed must be over before its place can be used again.
    await this.#copies.whenRead(this.#store.readsSettled());
  }

  /** The root is durable where no copy failed, so what was freed is let go. False when one did: another commit follows, without it. */
  #conclude({ tid, image, joining }: SealedCommit): boolean {
    this.#members.rootDurable(image.view);
    this.#intent?.rootDurable();
    this.#letGo(tid);
    if (this.#copies.failed.length > 0) return false;
    this.#members.committed(tid, joining);
    return true;
  }

  /**
   * What a durable root names may leave memory. What a commit given up has sealed may not: if another copy fails before the
   * next one is durable, its pointers have to be found and cleared in there, and narrow blocks brought elsewhere.
   */
  #release(writes: readonly PendingWrite[], durable: boolean): void {
    this.#givenUp.push(...writes);
    if (durable) this.#store.written(this.#givenUp.splice(0));
  }

  /** Every ring holds the root `tid` now, and the ones before it that it has room for. */
  #letGo(tid: number): void {
    this.#durableTids.push(tid);
    if (this.#durableTids.length < ROOT_SLOTS) return;
    const oldestTid = this.#durableTids.at(-ROOT_SLOTS) as number;
    this.#durableTids.shift();
    for (const freemap of this.#store.freemaps) freemap?.rootDurable(oldestTid);
  }

  #relocated(): boolean {
    try {
      placeStranded(this.#store, this.#rootImage);
      relocateLeaves(this.#store, this.#rootImage);
      return true;
    } catch (error) {
      if (error === MISS) return false;
      throw error;
    }
  }

  async #write(writes: readonly PendingWrite[]): Promise<void> {
    for (let at = 0; at < writes.length; ) {
      const batch: PendingWrite[] = [];
      for (let bytes = 0; at < writes.length && bytes < BATCH_BYTES; at++) {
        const write = writes[at] as PendingWrite;
        batch.push(write);
        bytes += write.bytes.length;
      }
      await this.#copies.writeBlocks(batch);
    }
  }

  #fail(cause: unknown): Error {
    if (this.#failure === undefined) {
      this.#failure = asError(cause);
      this.#onFailure(this.#failure);
    }
    return this.#failure;
  }
}
