// The copies of a volume at hand: reads from any, writes to all that are active.
// Invariants: I1/I2 (a copy that fails a write or flush is marked and gets nothing more; the committer drops it before
// anything is acknowledged), I5 (only verified bytes are handed out, bad ones are repaired from verified ones),
// I9 (a read that is overdue is sent to another copy too, a stalled copy is given up after the deadline), I11
// (no write is issued after another host took over, or later than the heartbeat of its copy allows), I12 (pointers are checked before use).

import { assert } from "../base/assert.ts";
import { type Clock, SystemClock } from "../base/clock.ts";
import type { Uuid } from "../base/uuid.ts";
import { DeviceError } from "../device/device.ts";
import { isCheckType } from "../format/check.ts";
import { COPIES_MAX, KIB } from "../format/geometry.ts";
import { type OpenDevice, openDevice } from "../nbd/open.ts";
import { type BlockRead, type BlockWrite, gatherRuns, type Run } from "./block-io.ts";
import type { Copy } from "./copy.ts";
import { allWithinDeadline, type CallOnCopy, DEADLINE_MS_DEFAULT } from "./deadline.ts";
import { CorruptBlockError, FencedError } from "./errors.ts";
import { LoneCopy } from "./lone-copy.ts";
import { OVERDUE, ReadWatch } from "./read-watch.ts";
import { type Mended, Recovery, verifies } from "./recovery.ts";

export type { BlockRead } from "./block-io.ts";
export { Copy } from "./copy.ts";

/** Data is read from the copies in turn, this much from each: long enough to be one call, short enough to share the work. */
const STRIPE_KIB = 1024;

/** How long a copy would take: those that answer at once are asked first, one with a frozen node when nobody else has the block. */
const READINESS = ["prompt", "overdue", "frozen"] as const;

/** A copy that is farther away than the nearest by more than this factor is read from only in need. One here beats all others. */
const NEAR = 2;

const isInUse = (copy: Copy): boolean => copy.active && copy.failure === undefined;
/** It is another copy, in use, and has all that `copy` has. */
const standsInFor = (other: Copy, copy: Copy): boolean =>
  other !== copy &&
  isInUse(other) &&
  (copy.standing !== "in-sync" || copy.untrusted || (other.standing === "in-sync" && !other.untrusted));
const hasFailed = (copy: Copy): boolean => copy.active && copy.failure !== undefined;

/** Bit per copy that there may be. */
const ALL = (1 << COPIES_MAX) - 1;

/** What a copy is asked for to see whether it answers. */
const PROBE_BYTES = 4096;

export interface CopySetOptions {
  readonly volumeUuid: Uuid;
  /** Nothing is ever written, not even a repair. */
  readonly readOnly?: boolean;
  readonly clock?: Clock;
  /** How long a copy may take longer than the fastest one before it is given up. */
  readonly deadlineMs?: number;
  /** What opens a node of a copy that comes back. */
  readonly open?: OpenDevice | undefined;
}

export class CopySet {
  readonly volumeUuid: Uuid;
  readonly readOnly: boolean;
  /** False while the volume is read-only, or may turn out to be: reads are still served from any copy, but nothing is repaired. */
  repairs: boolean;
  /** Metadata is read from this copy first. */
  master = 0;
  readonly clock: Clock;
  deadlineMs: number;
  readonly open: OpenDevice;
  /** One line for each target that could not be used. */
  absent: readonly string[] = [];
  /** Copies that have left the volume, and are still listed in the header of a device with others that have not. */
  leftRanges: readonly Pick<Copy, "index" | "uuid">[] = [];
  /** One of the targets did not answer in time. */
  awaitsTargets = false;
  /** Bit per copy in sync by the newest root there is; undefined as long as nobody knows which that is. */
  expected: number | undefined;
  /** Called at the moment a copy fails, before anybody goes on without it. */
  onFailed: () => void = () => undefined;
  /** Called when a copy is found to have failed, so that a commit drops it soon. */
  onFailure: () => void = () => undefined;
  /** Called when somebody else turned out to write to this volume. */
  onFenced: (error: FencedError) => void = () => undefined;
  #fenced: FencedError | undefined;
  #copies: readonly Copy[] = [];
  readonly #byIndex: (Copy | undefined)[] = new Array<Copy | undefined>(COPIES_MAX).fill(undefined);
  readonly #watch: ReadWatch;
  readonly #recovery: Recovery;

  /** True when others are in use that have all that this copy has. */
  readonly #isSpareable = (copy: Copy): boolean => this.#copies.some((other) => standsInFor(other, copy));

  constructor(copies: readonly Copy[], options: CopySetOptions) {
    this.volumeUuid = options.volumeUuid;
    this.readOnly = options.readOnly ?? false;
    this.repairs = !this.readOnly;
    this.clock = options.clock ?? new SystemClock();
    this.deadlineMs = options.deadlineMs ?? DEADLINE_MS_DEFAULT;
    this.open = options.open ?? openDevice;
    const deadlineMs = (): number => this.deadlineMs;
    const onStalled = (): void => this.#noticeFailed();
    this.#watch = new ReadWatch(this.clock, deadlineMs, {
      isSpareable: this.#isSpareable,
      othersServe: (copy) => this.#othersServe(copy),
      onStalled,
    });
    this.#recovery = new Recovery({
      copies: this.#byIndex,
      watch: this.#watch,
      clock: this.clock,
      deadlineMs,
      mayRepair: (copy) => this.repairs && !this.readOnly && this.#mayWrite(copy),
      isSpareable: this.#isSpareable,
      onStalled,
    });
    for (const copy of copies) this.add(copy);
  }

  /** All copies at hand, sorted by index. */
  get copies(): readonly Copy[] {
    return this.#copies;
  }

  /** Bit per copy at hand. */
  get mask(): number {
    return this.#copies.reduce((mask, copy) => mask | copy.bit, 0);
  }

  copy(index: number): Copy | undefined {
    return this.#byIndex[index];
  }

  /** Copies that new blocks and roots are written to. */
  get active(): readonly Copy[] {
    return this.#copies.filter(isInUse);
  }

  /** True when another copy in sync may be at hand as soon as some device answers. */
  get isAwaited(): boolean {
    return this.#awaits(this.expected ?? ALL);
  }

  /** True when another copy may be, in sync or not: a block may be on one that was dropped (`Recovery`). */
  get awaitsAny(): boolean {
    return this.#awaits(ALL);
  }

  #awaits(wanted: number): boolean {
    const isStalled = this.#copies.some(({ stalled, bit }) => stalled && (wanted & bit) !== 0);
    return isStalled || (this.awaitsTargets && (wanted & ~this.mask) !== 0);
  }

  /** Active copies that failed and were not dropped yet. */
  get failed(): readonly Copy[] {
    return this.#copies.filter(hasFailed);
  }

  /** Copies with a frozen node. */
  get frozen(): readonly Copy[] {
    return this.#copies.filter((copy) => copy.frozenNodes.length > 0);
  }

  /** Lets calls go on that are held for these nodes of a copy. What is not to be written any more is not. */
  thaw(copy: Copy, nodes: readonly number[]): void {
    if (this.#fenced !== undefined) copy.fail(new DeviceError(copy.name, "write", 0, "ESTALE", this.#fenced.message));
    copy.thaw(this.clock.monotonicMs(), nodes);
    this.#noticeFailed();
  }

  /** Takes in a copy that was not at hand, or that is opened anew. */
  add(copy: Copy): void {
    assert(copy.index < COPIES_MAX && this.#byIndex[copy.index] === undefined, `copy ${copy.index} twice`);
    this.#byIndex[copy.index] = copy;
    copy.onFailed = () => this.onFailed();
    this.#copies = [...this.#copies, copy].sort((a, b) => a.index - b.index);
  }

  /** Lets go of a copy: nothing more is read from it or written to it. Its device stays open, the caller closes it. */
  remove(copy: Copy): void {
    assert(this.#byIndex[copy.index] === copy && !copy.active, `copy ${copy.index} is in use`);
    this.#byIndex[copy.index] = undefined;
    this.#copies = this.#copies.filter((other) => other !== copy);
  }

  /**
   * Reads and verifies blocks, from another copy where one is bad, and repairs the bad. Never rejects for what media
   * do: `error` is set on the requests no copy could serve. When it resolves, repairs are over too.
   */
  async readBlocks(requests: readonly BlockRead[]): Promise<void> {
    const perCopy: BlockRead[][] = [];
    const work: Promise<void>[] = [];
    for (const request of requests) {
      const copy = this.#choose(request);
      if (copy === undefined) work.push(this.#hopeless(request));
      else (perCopy[copy.index] ??= []).push(request);
    }
    for (const copy of this.#copies) {
      const chosen = perCopy[copy.index];
      if (chosen === undefined) continue;
      for (const run of gatherRuns(chosen, copy.index, (request) => request.target))
        work.push(this.#readRun(copy, run));
    }
    await Promise.all(work);
  }

  /** The copy to ask first; undefined when no pointer can be followed. */
  #choose(request: BlockRead): Copy | undefined {
    if (!isCheckType(request.checkType)) return undefined;
    for (let readiness = 0; readiness < READINESS.length; readiness++) {
      const chosen = this.#chooseAmong(request, readiness);
      if (chosen !== undefined) return chosen;
    }
    return undefined;
  }

  /** Of those that are no less ready than `readiness`, an index of READINESS. */
  #chooseAmong(request: BlockRead, readiness: number): Copy | undefined {
    const { pointers, target } = request;
    let nearestMs = Infinity;
    for (const copy of this.#copies) {
      if (copy.distanceMs < nearestMs && this.#serves(copy, pointers, target.length, readiness))
        nearestMs = copy.distanceMs;
    }
    const serves = (copy: Copy): boolean =>
      copy.distanceMs <= NEAR * nearestMs && this.#serves(copy, pointers, target.length, readiness);
    let first: Copy | undefined;
    let usable = 0;
    for (const copy of this.#copies) {
      if (!serves(copy)) continue;
      if (first === undefined || copy.index === this.master) first = copy;
      usable++;
    }
    if (first === undefined || request.metadata || usable === 1) return first;
    let skip = Math.floor((pointers[first.index] as number) / STRIPE_KIB) % usable;
    for (const copy of this.#copies) if (serves(copy) && skip-- === 0) return copy;
    return first;
  }

  /** True when a read is well sent to this copy; the others are asked only when all of these failed. */
  #serves(copy: Copy, pointers: readonly number[], sizeBytes: number, readiness: number): boolean {
    const kib = pointers[copy.index] as number;
    if (kib === 0 || !copy.active || copy.untrusted || copy.failure !== undefined) return false;
    if (readiness < READINESS.indexOf("frozen") && copy.holds(kib * KIB, sizeBytes)) return false;
    // Its calls may all be stuck in a queue behind the one that is overdue.
    if (readiness < READINESS.indexOf("overdue") && copy.overdueReads > 0) return false;
    return copy.placeRefusal(kib, sizeBytes) === undefined;
  }

  async #hopeless(request: BlockRead): Promise<void> {
    if (isCheckType(request.checkType)) return this.#recovery.recover(request, undefined);
    request.target.fill(0);
    request.error = new CorruptBlockError(request.target.length, []);
  }

  async #readRun(copy: Copy, run: Run<BlockRead>): Promise<void> {
    const read = this.#watch.read(copy, run.offsetBytes, run.buffers);
    const end = await read.first;
    if (end === OVERDUE) {
      await Promise.all(run.items.map((item) => this.#recovery.recover(item, undefined, read)));
      return;
    }
    if (end !== undefined) {
      const [only] = run.items;
      if (run.items.length === 1 && only !== undefined) {
        await this.#recovery.recover(only, this.#recovery.blame(copy, only, end.code, true));
        return;
      }
      // One bad place spoils the whole call: each block is asked for by itself.
      await Promise.all(
        run.items.map((item) =>
          this.#readRun(copy, {
            offsetBytes: (item.pointers[copy.index] as number) * KIB,
            buffers: [item.target],
            items: [item],
          }),
        ),
      );
      return;
    }
    let recoveries: Promise<void>[] | undefined;
    for (const request of run.items) {
      if (verifies(request)) continue;
      const bad = this.#recovery.blame(copy, request, "check code does not match", false);
      (recoveries ??= []).push(this.#recovery.recover(request, bad));
    }
    if (recoveries !== undefined) await Promise.all(recoveries);
  }

  /**
   * What tells, when it is asked later, whether `copy` can be done without: another one has answered meanwhile. One that has
   * nothing to do is asked for something. Where none of them answers it is not the copy that is at fault, and it is not given up.
   */
  #othersServe(copy: Copy): () => boolean {
    const others = this.#copies.filter((other) => standsInFor(other, copy) && other.frozenNodes.length === 0);
    const before = others.map(({ callsAnswered }) => callsAnswered);
    for (const other of others)
      if (other.inFlight === 0) other.read(0, [new Uint8Array(PROBE_BYTES)]).catch(() => undefined);
    return () => others.some((other, i) => standsInFor(other, copy) && other.callsAnswered > (before[i] as number));
  }

  /**
   * Waits for reads that nobody may go on without. Who alone asked for a block waits as long as that takes; but a read that
   * holds up everybody for a deadline costs its copy its place, if others can do without it (I9).
   */
  whenRead(reads: Promise<void>): Promise<void> {
    return this.#watch.urge(reads);
  }

  /** What one copy has by itself. It is given up when a read takes longer than the deadline and there are others (I9). */
  alone(copy: Copy): LoneCopy {
    return new LoneCopy(copy, async (offsetBytes, targets) => {
      if (copy.failure !== undefined && copy.stalled) throw copy.failure;
      const read = this.#watch.read(copy, offsetBytes, targets);
      if (this.#isSpareable(copy)) read.expires();
      const failure = await read.over;
      if (failure !== undefined) throw failure;
    });
  }

  /** Copies in sync whose pointers are promises: what scrub looks at. */
  get trusted(): readonly Copy[] {
    return this.#copies.filter((copy) => copy.standing === "in-sync" && !copy.untrusted && copy.failure === undefined);
  }

  /** Looks at a block on every trusted copy and repairs the bad ones from a good one, with read-back (I5). */
  mend(request: BlockRead): Promise<Mended> {
    assert(!this.readOnly, "a block is repaired although nothing may be written");
    return this.#recovery.mend(request, this.trusted);
  }

  /**
   * Writes each block to every active copy its pointers name. Never rejects: a copy that fails is marked, and when this
   * resolves all I/O is over but that of copies given up.
   */
  async writeBlocks(writes: readonly BlockWrite[]): Promise<void> {
    const calls: CallOnCopy[] = [];
    for (const copy of this.active) {
      const chosen: BlockWrite[] = [];
      for (const write of writes) {
        const kib = write.pointers[copy.index] as number;
        if (kib === 0) continue;
        const refusal = copy.placeRefusal(kib, write.bytes.length);
        assert(refusal === undefined, `copy ${copy.index}, write at KiB ${kib}: ${refusal}`);
        chosen.push(write);
      }
      for (const run of gatherRuns(chosen, copy.index, (write) => write.bytes)) {
        calls.push({ copy, done: this.#write(copy, run.offsetBytes, run.buffers) });
      }
    }
    await this.#over("write", calls);
  }

  /** Writes bytes outside of the block area (roots). Each entry names its copy. Never rejects, like `writeBlocks`. */
  async writeAt(
    writes: readonly { readonly copy: Copy; readonly offsetBytes: number; readonly bytes: Uint8Array }[],
  ): Promise<void> {
    await this.#over(
      "write",
      writes.map(({ copy, offsetBytes, bytes }) => ({ copy, done: this.#write(copy, offsetBytes, [bytes]) })),
    );
  }

  #write(copy: Copy, offsetBytes: number, sources: readonly Uint8Array[]): Promise<void> {
    assert(!this.readOnly, `copy ${copy.index} is open for reading only`);
    if (this.#fenced !== undefined) throw this.#fenced;
    return this.#mayWrite(copy) ? copy.write(offsetBytes, sources) : Promise.resolve();
  }

  /** False, and the copy is given up, when its heartbeat is too old: another host may have taken it over by now (I11). */
  #mayWrite(copy: Copy): boolean {
    if (this.#fenced !== undefined) return false;
    if (copy.writableUntilMs === Infinity || this.clock.monotonicMs() <= copy.writableUntilMs) return true;
    // Where the heartbeat lies on a frozen node all are, and it is renewed before any write is let through.
    if (copy.frozenNodes.length === copy.nodes.length) return true;
    copy.fail(new DeviceError(copy.name, "write", 0, "ESTALE", "its heartbeat is too old, another host may use it"));
    return false;
  }

  /** Why nothing is written any more, if another host took the volume over. */
  get fenced(): FencedError | undefined {
    return this.#fenced;
  }

  /** Another host writes to this volume: from now on no write of any kind is issued (I11). */
  fence(reason: string): void {
    if (this.#fenced !== undefined) return;
    this.#fenced = new FencedError(reason);
    this.repairs = false;
    this.onFenced(this.#fenced);
  }

  /** Gives one copy up; the next commit drops it. */
  giveUp(copy: Copy, error: DeviceError): void {
    copy.fail(error);
    this.#noticeFailed();
  }

  /** Makes everything written before durable on all active copies, or on `only`. Never rejects; a copy that fails is marked. */
  async flush(only?: Copy): Promise<void> {
    const copies = only === undefined ? this.active : [only];
    await this.#over(
      "flush",
      copies.map((copy) => ({ copy, done: copy.flush() })),
    );
  }

  async #over(operation: "write" | "flush", calls: readonly CallOnCopy[]): Promise<void> {
    await allWithinDeadline(this.clock, this.deadlineMs, operation, calls, this.#isSpareable);
    this.#noticeFailed();
  }

  #noticeFailed(): void {
    this.#watch.leaveStalled();
    if (this.#copies.some(hasFailed)) this.onFailure();
  }

  /** Says that a range of one copy will be written in small pieces, each flushed; false when nothing was done about it. */
  async prepare(copyIndex: number, kib: number, lengthKib: number): Promise<boolean> {
    const copy = this.#byIndex[copyIndex];
    if (copy?.device.prepare === undefined || copy.failure !== undefined) return false;
    if (this.readOnly || !this.#mayWrite(copy)) return false;
    const isReady = await copy.prepare(kib * KIB, lengthKib * KIB);
    this.#noticeFailed();
    return isReady;
  }

  /** Closes all devices; rejects with the first failure after all are closed. */
  async close(): Promise<void> {
    const failures: unknown[] = [];
    const calls = this.#copies.map((copy) => {
      const givenUp = copy.failure !== undefined;
      const done = copy.close().catch((error: unknown) => void (givenUp || failures.push(error)));
      return { copy, done, givenUp };
    });
    // A device that was given up may never let go of its last call: nobody waits for that.
    const waited = calls.filter(({ givenUp }) => !givenUp);
    await allWithinDeadline(this.clock, this.deadlineMs, "close", waited, () => waited.length > 1);
    if (failures.length > 0) throw failures[0];
  }
}
