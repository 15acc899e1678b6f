// Watches reads under way for those that take too long (I9). A read is overdue after 50 ms, or after four times what reads
// of its copy took lately: a disk that is slow because it is busy must not get every read twice, just when it can do
// with it least. One timer watches all reads of all copies, so a read that is answered in time costs none.

import type { Clock, Timer } from "../base/clock.ts";
import { DeviceError } from "../device/device.ts";
import { asDeviceError, type Copy } from "./copy.ts";
import { deadlineOf, waitedMs, wasPaused } from "./deadline.ts";

export const HEDGE_MS = 50;
/** A timer may fire a little before its time. */
const EARLY_MS = 2;
const LATENCIES = 4;
/** However slow a copy was, it is not waited for longer than this part of the deadline. */
const DEADLINE_PART = 5;
/** Each read counts this much in the smoothed latency of its copy. */
const SMOOTHING = 1 / 8;

/** What `first` says of a read that is overdue and still under way. */
export const OVERDUE = Symbol("overdue");

/** One device call that reads. Nothing here rejects: failures are values. */
export class WatchedRead {
  readonly copy: Copy;
  readonly startedMs: number;
  readonly dueMs: number;
  /** How the read ended: undefined when well. A copy that is given up ends its overdue reads too. */
  readonly over: Promise<DeviceError | undefined>;
  /** As `over`, or OVERDUE if that comes first. */
  readonly first: Promise<DeviceError | undefined | typeof OVERDUE>;
  readonly #watch: ReadWatch;
  #end!: (failure: DeviceError | undefined) => void;
  #late!: () => void;
  #expiry: Timer | undefined;
  #ended = false;

  constructor(watch: ReadWatch, copy: Copy, startedMs: number, dueMs: number) {
    this.#watch = watch;
    this.copy = copy;
    this.startedMs = startedMs;
    this.dueMs = dueMs;
    this.over = new Promise((resolve) => (this.#end = resolve));
    this.first = new Promise((resolve) => {
      this.#late = () => resolve(OVERDUE);
      void this.over.then(resolve);
    });
  }

  becomeOverdue(): void {
    this.copy.overdueReads++;
    this.#late();
  }

  end(failure: DeviceError | undefined): void {
    this.#ended = true;
    this.#expiry?.cancel();
    this.#end(failure);
  }

  /** It is not waited for without end: if it is not over within the deadline, its copy is given up. */
  expires(): void {
    if (!this.#ended) this.#expiry ??= this.#watch.expireLater(this.copy);
  }
}

export interface ReadWatchParts {
  /** Whether there are other copies to go on with. */
  readonly isSpareable: (copy: Copy) => boolean;
  /** What tells, when it is asked later, whether others have served meanwhile: only then is a copy to blame that does not. */
  readonly othersServe: (copy: Copy) => () => boolean;
  /** Called after a copy was given up. */
  readonly onStalled: () => void;
}

export class ReadWatch {
  readonly #clock: Clock;
  readonly #deadlineMs: () => number;
  readonly #parts: ReadWatchParts;
  readonly #inTime = new Set<WatchedRead>();
  readonly #overdue = new Set<WatchedRead>();
  #timer: Timer | undefined;
  /** So many wait for reads that nobody may go on without. */
  #urging = 0;

  constructor(clock: Clock, deadlineMs: () => number, parts: ReadWatchParts) {
    this.#clock = clock;
    this.#deadlineMs = deadlineMs;
    this.#parts = parts;
  }

  read(copy: Copy, offsetBytes: number, targets: readonly Uint8Array[]): WatchedRead {
    const now = this.#clock.monotonicMs();
    const patienceMs = Math.max(HEDGE_MS, Math.min(LATENCIES * copy.readMs, this.#deadlineMs() / DEADLINE_PART));
    const read = new WatchedRead(this, copy, now, now + patienceMs);
    this.#inTime.add(read);
    this.#timer ??= this.#clock.after(HEDGE_MS, () => this.#look());
    if (this.#urging > 0 && this.#parts.isSpareable(copy)) read.expires();
    copy.read(offsetBytes, targets).then(
      () => this.#over(read, undefined),
      (error: unknown) => this.#over(read, asDeviceError(copy.name, "read", offsetBytes, error)),
    );
    return read;
  }

  /** Waits for `work`, for which reads have to be over. Meanwhile they expire, those of copies that others stand in for. */
  async urge(work: Promise<void>): Promise<void> {
    this.#urging++;
    for (const read of [...this.#inTime, ...this.#overdue]) if (this.#parts.isSpareable(read.copy)) read.expires();
    try {
      await work;
    } finally {
      this.#urging--;
    }
  }

  #over(read: WatchedRead, failure: DeviceError | undefined): void {
    const { copy } = read;
    const tookMs = Math.min(waitedMs(copy, read.startedMs, this.#clock.monotonicMs()), this.#deadlineMs());
    copy.readMs += (tookMs - copy.readMs) * SMOOTHING;
    this.#inTime.delete(read);
    if (this.#overdue.delete(read)) copy.overdueReads--;
    read.end(failure);
  }

  #look(): void {
    const now = this.#clock.monotonicMs();
    for (const read of this.#inTime) {
      if (read.dueMs > now) continue;
      this.#inTime.delete(read);
      this.#overdue.add(read);
      read.becomeOverdue();
    }
    this.#timer = this.#inTime.size === 0 ? undefined : this.#clock.after(HEDGE_MS, () => this.#look());
  }

  /**
   * Gives `copy` up after a deadline in both halves of which others served, if it was not before: then it answers even less.
   * While nobody serves, as on a machine that does no I/O at all, the deadline has not begun. Nobody is watched before the read
   * is overdue.
   */
  expireLater(copy: Copy): Timer {
    const deadlineMs = deadlineOf(copy, this.#deadlineMs());
    let sinceMs = this.#clock.monotonicMs();
    let timer: Timer;
    let othersServed = (): boolean => true;
    const lookAfter = (delayMs: number): void => {
      const dueMs = this.#clock.monotonicMs() + delayMs;
      timer = this.#clock.after(delayMs, () => look(dueMs));
    };
    const look = (dueMs: number): void => {
      const nowMs = this.#clock.monotonicMs();
      if (!othersServed() || wasPaused(dueMs, nowMs)) sinceMs = nowMs;
      const leftMs = deadlineMs - waitedMs(copy, sinceMs, nowMs);
      if (leftMs > EARLY_MS) {
        othersServed = this.#parts.othersServe(copy);
        // Time enough for the others to answer, however little is left.
        return lookAfter(Math.max(Math.min(leftMs, deadlineMs / 2), HEDGE_MS));
      }
      copy.errors.read++;
      copy.fail(silent(copy, `within ${deadlineMs} ms`));
      this.#parts.onStalled();
    };
    lookAfter(Math.min(HEDGE_MS, deadlineMs / 2));
    return { cancel: () => timer.cancel() };
  }

  /** Nobody waits any longer for overdue reads of copies that were given up; their buffers stay theirs until they end. */
  leaveStalled(): void {
    for (const read of this.#overdue) if (read.copy.stalled) read.end(silent(read.copy));
  }
}

const silent = ({ name }: Copy, when = "any more"): DeviceError =>
  new DeviceError(name, "read", 0, "ETIMEDOUT", `no answer ${when}`);
