// The copies of a volume at hand: reads from any, writes to all that are active.
// Invariants: I1/I2 (a copy that fails a write or flush is marked and gets nothing more; the committer drops it before
// anything is acknowledged), I5 (only verified bytes are handed out, bad ones are repaired from verified ones),
// I9 (a stalled copy is given up after the deadline), I12 (pointers are checked before use).

import { assert } from "../base/assert.ts";
import { type Clock, SystemClock } from "../base/clock.ts";
import type { Uuid } from "../base/uuid.ts";
import { isCheckType } from "../format/check.ts";
import { COPIES_MAX, KIB } from "../format/geometry.ts";
import { type BlockRead, type BlockWrite, gatherRuns, type Run } from "./block-io.ts";
import { asDeviceError, type Copy } from "./copy.ts";
import { allWithinDeadline, type CallOnCopy, DEADLINE_MS_DEFAULT } from "./deadline.ts";
import { CorruptBlockError } from "./errors.ts";
import { type Mended, Recovery, verifies } from "./recovery.ts";

export type { BlockRead, BlockWrite } from "./block-io.ts";
export { Copy } from "./copy.ts";
export { CorruptBlockError } from "./errors.ts";

/** Data is read from the copies in turn, this much from each: long enough to be one call, short enough to share the work. */
const STRIPE_KIB = 1024;

export interface CopySetOptions {
  readonly volumeUuid: Uuid;
  /** Nothing is ever written, not even a repair. */
  readonly readOnly?: boolean;
  readonly clock?: Clock;
  /** How long a copy may take longer than the fastest one before it is given up. */
  readonly deadlineMs?: number;
}

export class CopySet {
  readonly volumeUuid: Uuid;
  readonly readOnly: boolean;
  /** Cleared when the volume turns read-only: reads are still served from any copy, but nothing is repaired. */
  repairs: boolean;
  /** Metadata is read from this copy first. */
  master = 0;
  readonly clock: Clock;
  deadlineMs: number;
  /** One line for each target that could not be used. */
  absent: readonly string[] = [];
  /** Called when a copy is found to have failed, so that a commit drops it soon. */
  onFailure: () => void = () => undefined;
  #copies: readonly Copy[] = [];
  readonly #byIndex: (Copy | undefined)[] = new Array<Copy | undefined>(COPIES_MAX).fill(undefined);
  readonly #recovery: Recovery;

  constructor(copies: readonly Copy[], options: CopySetOptions) {
    this.volumeUuid = options.volumeUuid;
    this.readOnly = options.readOnly ?? false;
    this.repairs = !this.readOnly;
    this.clock = options.clock ?? new SystemClock();
    this.deadlineMs = options.deadlineMs ?? DEADLINE_MS_DEFAULT;
    this.#recovery = new Recovery(this.#byIndex);
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
    return this.#copies.filter((copy) => copy.active && copy.failure === undefined);
  }

  /** Active copies that failed and were not dropped yet. */
  get failed(): readonly Copy[] {
    return this.#copies.filter((copy) => copy.active && copy.failure !== undefined);
  }

  /** Takes in a copy that was not at hand, or that is opened anew. */
  add(copy: Copy): void {
    assert(copy.index < COPIES_MAX && this.#byIndex[copy.index] === undefined, `copy ${copy.index} twice`);
    this.#byIndex[copy.index] = copy;
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
    const { pointers, target } = request;
    if (!isCheckType(request.checkType)) return undefined;
    let first: Copy | undefined;
    let usable = 0;
    for (const copy of this.#copies) {
      if (!this.#serves(copy, pointers, target.length)) continue;
      if (first === undefined || copy.index === this.master) first = copy;
      usable++;
    }
    if (first === undefined || request.metadata || usable === 1) return first;
    let skip = Math.floor((pointers[first.index] as number) / STRIPE_KIB) % usable;
    for (const copy of this.#copies) {
      if (this.#serves(copy, pointers, target.length) && skip-- === 0) return copy;
    }
    return first;
  }

  /** True when a read is well sent to this copy; the others are asked only when all of these failed. */
  #serves(copy: Copy, pointers: readonly number[], sizeBytes: number): boolean {
    const kib = pointers[copy.index] as number;
    if (kib === 0 || !copy.active || copy.untrusted || copy.failure !== undefined) return false;
    return copy.placeRefusal(kib, sizeBytes) === undefined;
  }

  async #hopeless(request: BlockRead): Promise<void> {
    if (isCheckType(request.checkType)) return this.#recovery.recover(request, undefined, false);
    request.target.fill(0);
    request.error = new CorruptBlockError(request.target.length, []);
  }

  async #readRun(copy: Copy, run: Run<BlockRead>): Promise<void> {
    const mayRepair = (): boolean => this.repairs && !this.readOnly;
    try {
      await copy.device.read(run.offsetBytes, run.buffers);
    } catch (error) {
      const { code } = asDeviceError(copy.name, "read", run.offsetBytes, error);
      const [only] = run.items;
      if (run.items.length === 1 && only !== undefined) {
        await this.#recovery.recover(only, this.#recovery.blame(copy, only, code, true), mayRepair());
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
      (recoveries ??= []).push(this.#recovery.recover(request, bad, mayRepair()));
    }
    if (recoveries !== undefined) await Promise.all(recoveries);
  }

  /** Copies in sync whose pointers are promises: what scrub looks at. */
  get trusted(): readonly Copy[] {
    return this.#copies.filter((copy) => copy.standing === "in-sync" && !copy.untrusted && copy.failure === undefined);
  }

  /** Looks at a block on every trusted copy and repairs the bad ones from a good one, with read-back (I5). */
  mend(request: BlockRead): Promise<Mended> {
    assert(this.repairs && !this.readOnly, "a block is repaired although nothing may be written");
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
    return copy.write(offsetBytes, sources);
  }

  /** Makes everything written before durable on all active copies. Never rejects; a copy that fails is marked. */
  async flush(): Promise<void> {
    await this.#over(
      "flush",
      this.active.map((copy) => ({ copy, done: copy.flush() })),
    );
  }

  async #over(operation: "write" | "flush", calls: readonly CallOnCopy[]): Promise<void> {
    await allWithinDeadline(this.clock, this.deadlineMs, operation, calls);
    if (this.failed.length > 0) this.onFailure();
  }

  /** Says that a range of one copy holds nothing of value. A hint. */
  async discard(copyIndex: number, kib: number, lengthKib: number): Promise<void> {
    const copy = this.#byIndex[copyIndex];
    if (copy !== undefined && !this.readOnly)
      await copy.device.discard(kib * KIB, lengthKib * KIB).catch(() => undefined);
  }

  /** Closes all devices; rejects with the first failure after all are closed. */
  async close(): Promise<void> {
    // A device that was given up may never let go of its last call: nobody waits for that.
    const waited = this.#copies.filter((copy) => copy.failure === undefined);
    for (const copy of this.#copies) if (copy.failure !== undefined) copy.device.close().catch(() => undefined);
    const results = await Promise.allSettled(waited.map((copy) => copy.device.close()));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }
}
