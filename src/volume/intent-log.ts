// What bridges from one root to the next: every completed operation goes into the journal at once, and into log segments on
// every copy in sync when somebody asks for durability. An fsync so costs one append and one flush per copy.
// Invariants: I4 (the log of a root holds a prefix of what was completed after it, whole up to what was acknowledged),
// I2 (nothing is acknowledged through the log once a copy failed: only a new root can do without it).
// While a commit is under way the old log goes on being written. Between the moment its root may reach media and the
// moment it is durable nobody is answered, because either root may be the one that a crash leaves.

import { assert } from "../base/assert.ts";
import { FsError } from "../base/errno.ts";
import { objectList } from "../base/object-list.ts";
import type { Random } from "../base/random.ts";
import { randomUuid } from "../base/uuid.ts";
import type { BlockWrite } from "../copies/block-io.ts";
import type { Copy, CopySet } from "../copies/copy-set.ts";
import { KIB } from "../format/geometry.ts";
import { LOG_SEGMENT_KIB, logSeed } from "../format/log-frame.ts";
import { rootEpoch, rootInSync, rootSequence } from "../format/root-block.ts";
import { rootLogHead, rootLogId, setRootLog } from "../format/root-log.ts";
import type { Journal } from "../log/journal.ts";
import { Log } from "../log/log.ts";
import { Segments } from "../log/segments.ts";
import type { Operation, OperationResult } from "../ops/operation.ts";
import { Recorder } from "../ops/record.ts";
import type { EarlyBlock } from "../tree/early-block.ts";
import type { BlockStore } from "../tree/store.ts";

/** Segments kept ready on each copy: one for so many KiB of the smallest, within bounds. */
const SEGMENT_PER_KIB = 8192;
const SEGMENTS_MIN = 4;
const SEGMENTS_MAX = 128;
/** Spare segments that are written to once beforehand. */
const PREPARED_MAX = 128;
const NO_BLOCKS: readonly EarlyBlock[] = objectList();

export class IntentLog {
  readonly journal: Journal;
  readonly #store: BlockStore;
  readonly #copies: CopySet;
  readonly #random: Random;
  readonly #segments: Segments;
  readonly #recorder = new Recorder();
  readonly #results = new Map<number, OperationResult>();
  #current: Log | undefined;
  #next: Log | undefined;
  /** Everything before this position is durable through the log or a root. */
  #flushedBytes: number;
  /** Positions of the records whose early blocks are on their way, oldest first. */
  readonly #onTheWay: { readonly position: number; readonly done: Promise<void> }[] = objectList();
  /** False until what another process left in the journal is in a root: nobody may skip looking at that. */
  #mayLand: boolean;
  #appending: Promise<void> | undefined;
  /** Frames of the current log may be missing somewhere: it ends here, only a new root helps. */
  #broken = false;
  #running: Promise<boolean> | undefined;
  #following: Promise<boolean> | undefined;
  /** Copies on which segments are being readied. */
  readonly #preparing = new Set<number>();
  /** Set while no answer may be given through the log. */
  #closed: { readonly opened: Promise<void>; readonly open: () => void } | undefined;

  constructor(
    parts: { readonly store: BlockStore; readonly copies: CopySet },
    journal: Journal,
    options: { readonly random: Random; readonly takesOver: boolean },
  ) {
    this.journal = journal;
    this.#store = parts.store;
    this.#copies = parts.copies;
    this.#random = options.random;
    this.#mayLand = !options.takesOver;
    this.#segments = new Segments(parts.store.freemaps);
    this.#flushedBytes = journal.endBytes;
    parts.store.logged = true;
    parts.copies.onFailed = () => this.#noteFailed();
    this.#noteFailed();
  }

  // ---- requests of a process before this one

  /** What an operation gave that the kernel may ask for again. */
  noteResult(requestId: number, result: OperationResult): void {
    this.#results.set(requestId, result);
  }

  result(requestId: number): OperationResult | undefined {
    return this.#results.get(requestId);
  }

  /** Every request that was carried out is answered; `all`: also those that were given to a process before us. */
  answered(all: boolean): void {
    // Clearing makes a new table, even of nothing.
    if (all && this.#results.size > 0) this.#results.clear();
    this.journal.answeredBytes = this.journal.endBytes;
  }

  // ---- recording

  /**
   * Notes an operation that was carried out just now, with what it wrote early. The record names blocks instead of their content:
   * it tells the whole only when they are where another process finds them. Whoever asked is answered when what this returns resolves;
   * it rejects with FsError EIO when no copy took them. Undefined when the record names none.
   */
  record(operation: Operation, requestId: number): Promise<void> | undefined {
    const early = operation.op === "write" ? this.#store.early.blocks : NO_BLOCKS;
    const pieces = this.#recorder.encode(operation, requestId, early);
    const onTheWay = early.length === 0 ? undefined : this.#onTheWay.at(-1);
    // Before the record: none that is found waited without saying so.
    const waiting = onTheWay === undefined ? undefined : this.journal.awaitBlocks();
    this.journal.append(pieces);
    if (this.#onTheWay.length === 0) this.#landed();
    return onTheWay?.done.then(() => this.#arrived(waiting));
  }

  /** With no copy left that took them the blocks are nowhere: that must not be answered as if it were done. */
  #arrived(waiting: number | undefined): void {
    if (this.#copies.active.length === 0 || this.#copies.fenced !== undefined) {
      throw new FsError("EIO", "no copy took the data; the volume can only be read");
    }
    if (waiting !== undefined) this.journal.arrived(waiting);
  }

  /** Early blocks of the operation at hand are on their way to the copies until `done` resolves. */
  earlyWrites(done: Promise<void>): void {
    const entry = { position: this.journal.endBytes, done };
    this.#onTheWay.push(entry);
    void done.finally(() => {
      this.#onTheWay.splice(this.#onTheWay.indexOf(entry), 1);
      this.#landed();
    });
  }

  /** Some copy failed: whoever comes after us must not go on with it as if nothing had been (I2). */
  #noteFailed(): void {
    this.journal.failedCopies |= this.#failed;
  }

  /** Bit per copy that failed and was not dropped yet. */
  get #failed(): number {
    return this.#copies.failed.reduce((mask, copy) => mask | copy.bit, 0);
  }

  /** A copy that failed may lack any of it: what is named on it counts again when a root without it is durable. */
  #landed(): void {
    if (!this.#mayLand || this.#copies.failed.length > 0) return;
    this.journal.landedBytes = this.#onTheWay[0]?.position ?? this.journal.endBytes;
  }

  // ---- beginning

  /**
   * Goes on with the log that `root` names, the newest root of every copy in sync: nothing is in it, and its first segment is set
   * aside. Needs room to be provided. False when that can't be: then a commit begins a log.
   */
  resume(root: DataView): boolean {
    const mask = rootInSync(root);
    const head = rootLogHead(root).map((kib, copy) => ((mask & (1 << copy)) === 0 ? 0 : kib));
    const identity = { id: rootLogId(root).slice(), seed: logSeed(rootSequence(root), rootEpoch(root)), mask };
    const log = Log.resume(identity, head, this.#segments, this.journal, this.journal.endBytes);
    if (log === undefined) return false;
    this.#current = log;
    return true;
  }

  // ---- durability on demand

  /** Everything recorded before the call is durable on every copy in sync when it resolves to true; false: commit instead. */
  sync(): Promise<boolean> {
    if (this.#following !== undefined) return this.#following;
    if (this.#running === undefined) return (this.#running = this.#begin());
    const following = this.#running.then(() => {
      this.#following = undefined;
      return (this.#running = this.#begin());
    });
    return (this.#following = following);
  }

  async #begin(): Promise<boolean> {
    try {
      while (this.#closed !== undefined) await this.#closed.opened;
      return await this.#append();
    } finally {
      this.#running = undefined;
    }
  }

  async #append(): Promise<boolean> {
    const log = this.#current;
    if (log === undefined || this.#broken || !this.#reaches(log)) return false;
    const to = this.journal.endBytes;
    if (to <= this.#flushedBytes) return true;
    const writes = log.frames(to, this.#flushedBytes);
    if (writes === undefined) return false;
    this.#appending = Promise.all([this.#write(writes), ...this.#onTheWay.map(({ done }) => done)])
      .then(() => this.#copies.flush())
      .finally(() => (this.#appending = undefined));
    await this.#appending;
    if (!this.#reaches(log)) {
      this.#broken = true;
      return false;
    }
    this.#flushedBytes = Math.max(this.#flushedBytes, to);
    return true;
  }

  #write(frames: readonly BlockWrite[]): Promise<void> {
    const writes: { copy: Copy; offsetBytes: number; bytes: Uint8Array }[] = [];
    for (const copy of this.#copies.active) {
      for (const { pointers, bytes } of frames) {
        const kib = pointers[copy.index] as number;
        if (kib !== 0) writes.push({ copy, offsetBytes: kib * KIB, bytes });
      }
    }
    return this.#copies.writeAt(writes);
  }

  /** True while every copy that the log was begun on still gets what is written to it (I2). */
  #reaches(log: Log): boolean {
    return this.#copies.active.reduce((mask, copy) => mask & ~copy.bit, log.mask) === 0;
  }

  // ---- commits

  /**
   * The root in `root` is sealed with everything recorded so far: names in it the log that will go on from it. `inSync`: bit
   * per copy in sync by it.
   */
  sealed(root: DataView, inSync: number): void {
    this.#next?.end();
    const identity = { id: randomUuid(this.#random), seed: logSeed(rootSequence(root), rootEpoch(root)), mask: inSync };
    this.#next = Log.begin(identity, this.#segments, this.journal, this.journal.endBytes);
    setRootLog(root, this.#next?.id, this.#next?.head ?? []);
    this.journal.sealed(root);
    // In the root from now on, and no more in the journal: who comes after us must still know what to answer.
    for (const [requestId, result] of this.#results)
      this.journal.append(this.#recorder.encodeResult(requestId, result));
  }

  /**
   * From now until `reopen` nobody is answered through the log. What was acknowledged since the seal goes into the log of the
   * new root, flushed. False when that has no room: then the root must not be written, everything is to be sealed again.
   */
  async close(): Promise<boolean> {
    if (this.#closed === undefined) {
      let open = (): void => undefined;
      const opened = new Promise<void>((resolve) => (open = resolve));
      this.#closed = { opened, open };
    }
    await this.#appending;
    if (this.#flushedBytes <= this.journal.sealBytes) return true;
    const writes = this.#next?.frames(this.#flushedBytes, this.#flushedBytes);
    if (writes === undefined) return false;
    await this.#write(writes);
    await this.#copies.flush();
    return true;
  }

  /** The root sealed last is durable, and with it everything before; its log goes on. */
  rootDurable(): void {
    this.#flushedBytes = Math.max(this.#flushedBytes, this.journal.sealBytes);
    this.journal.rootDurable();
    this.journal.failedCopies = this.#failed;
    this.#current?.end();
    this.#current = this.#next;
    this.#next = undefined;
    this.#broken = false;
    this.#mayLand = true;
  }

  /** Whoever waits is answered again. */
  reopen(): void {
    const closed = this.#closed;
    this.#closed = undefined;
    this.#landed();
    closed?.open();
  }

  /** Has room ready for logs on every copy of `inSync`. May throw MISS, to be called again. Not between a commit's allocations. */
  provide(inSync: number): void {
    let smallestKib = Infinity;
    for (const freemap of this.#store.freemaps) {
      if (freemap !== undefined && (inSync & (1 << freemap.copy)) !== 0)
        smallestKib = Math.min(smallestKib, freemap.sizeKib);
    }
    assert(smallestKib !== Infinity, "no copy is in sync");
    const wanted = Math.floor(smallestKib / SEGMENT_PER_KIB);
    this.#segments.provide(inSync, Math.min(SEGMENTS_MAX, Math.max(SEGMENTS_MIN, wanted)));
  }

  /** Readies spare segments on every copy, one after the other, for writes that are flushed at once. Nobody waits for it. */
  prepare(): void {
    for (const { index } of this.#copies.active) {
      if (this.#preparing.has(index)) continue;
      this.#preparing.add(index);
      void this.#prepareOn(index).finally(() => this.#preparing.delete(index));
    }
  }

  async #prepareOn(copyIndex: number): Promise<void> {
    for (;;) {
      // As many at a time as lie side by side: a flush for each would have the filesystem below write its journal as often.
      const unprepared = this.#segments.toPrepare(copyIndex, PREPARED_MAX);
      if (unprepared === undefined) return;
      const { places } = unprepared;
      const isReady = await this.#copies.prepare(copyIndex, places[0] as number, places.length * LOG_SEGMENT_KIB);
      this.#segments.prepared(unprepared);
      if (!isReady) return;
    }
  }
}
