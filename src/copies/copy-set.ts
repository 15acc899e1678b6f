// The copies of a volume at hand: reads from any, writes to all.
// Invariants: I1/I2 (a failed write or flush fails the call, after all of its I/O is over), I5 (only verified bytes are
// handed out, bad ones are repaired from verified ones), I12 (pointers are checked before use).

import { assert } from "../base/assert.ts";
import type { Uuid } from "../base/uuid.ts";
import { isCheckType } from "../format/check.ts";
import { COPIES_MAX, KIB } from "../format/geometry.ts";
import { type BlockRead, type BlockWrite, gatherRuns, type Run } from "./block-io.ts";
import { asDeviceError, type Copy } from "./copy.ts";
import { decideOnFailures } from "./demotion.ts";
import { CorruptBlockError, type CopyFailure } from "./errors.ts";
import { Recovery, verifies } from "./recovery.ts";

export type { BlockRead, BlockWrite } from "./block-io.ts";
export { Copy } from "./copy.ts";
export { CopyWriteError, CorruptBlockError } from "./errors.ts";

/** Data is read from the copies in turn, this much from each: long enough to be one call, short enough to share the work. */
const STRIPE_KIB = 1024;

export interface CopySetOptions {
  readonly volumeUuid: Uuid;
  /** Nothing is ever written, not even a repair. */
  readonly readOnly?: boolean;
}

export class CopySet {
  /** Sorted by index. */
  readonly copies: readonly Copy[];
  /** Bit per present copy. */
  readonly mask: number;
  readonly volumeUuid: Uuid;
  readonly readOnly: boolean;
  /** Cleared when the volume turns read-only: reads are still served from any copy, but nothing is repaired. */
  repairs: boolean;
  readonly #byIndex: (Copy | undefined)[] = new Array<Copy | undefined>(COPIES_MAX).fill(undefined);
  readonly #recovery: Recovery;

  constructor(copies: readonly Copy[], options: CopySetOptions) {
    this.copies = [...copies].sort((a, b) => a.index - b.index);
    this.mask = 0;
    for (const copy of copies) {
      assert(copy.index < COPIES_MAX && this.#byIndex[copy.index] === undefined, `copy ${copy.index} twice`);
      this.#byIndex[copy.index] = copy;
      this.mask |= 1 << copy.index;
    }
    this.volumeUuid = options.volumeUuid;
    this.readOnly = options.readOnly ?? false;
    this.repairs = !this.readOnly;
    this.#recovery = new Recovery(this.#byIndex);
  }

  copy(index: number): Copy | undefined {
    return this.#byIndex[index];
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
    for (const copy of this.copies) {
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
    for (const copy of this.copies) {
      const kib = pointers[copy.index] as number;
      if (kib === 0 || copy.placeRefusal(kib, target.length) !== undefined) continue;
      first ??= copy;
      usable++;
    }
    if (first === undefined || request.metadata || usable === 1) return first;
    let skip = Math.floor((pointers[first.index] as number) / STRIPE_KIB) % usable;
    for (const copy of this.copies) {
      const kib = pointers[copy.index] as number;
      if (kib === 0 || copy.placeRefusal(kib, target.length) !== undefined) continue;
      if (skip-- === 0) return copy;
    }
    return first;
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

  /** Writes each block to every copy its pointers name. Rejects with CopyWriteError after all I/O of the call is over. */
  async writeBlocks(writes: readonly BlockWrite[]): Promise<void> {
    const work: Promise<CopyFailure | undefined>[] = [];
    let named = 0;
    for (const copy of this.copies) {
      const chosen: BlockWrite[] = [];
      for (const write of writes) {
        const kib = write.pointers[copy.index] as number;
        if (kib === 0) continue;
        const refusal = copy.placeRefusal(kib, write.bytes.length);
        assert(refusal === undefined, `copy ${copy.index}, write at KiB ${kib}: ${refusal}`);
        chosen.push(write);
      }
      named += chosen.length;
      for (const run of gatherRuns(chosen, copy.index, (write) => write.bytes)) {
        work.push(failureOf(copy, this.#write(copy, run.offsetBytes, run.buffers)));
      }
    }
    assert(named >= writes.length, "a block is written to no copy");
    decideOnFailures(distinct(await Promise.all(work)));
  }

  /** Writes bytes outside of the block area (roots). Each entry names its copy. Rejects like `writeBlocks`. */
  async writeAt(
    writes: readonly { readonly copy: Copy; readonly offsetBytes: number; readonly bytes: Uint8Array }[],
  ): Promise<void> {
    const work = writes.map(({ copy, offsetBytes, bytes }) => failureOf(copy, this.#write(copy, offsetBytes, [bytes])));
    decideOnFailures(distinct(await Promise.all(work)));
  }

  #write(copy: Copy, offsetBytes: number, sources: readonly Uint8Array[]): ReturnType<Copy["write"]> {
    assert(!this.readOnly, `copy ${copy.index} is open for reading only`);
    return copy.write(offsetBytes, sources);
  }

  /** Makes everything written before durable on all copies. Rejects with CopyWriteError; such a copy stays failed. */
  async flush(): Promise<void> {
    decideOnFailures(distinct(await Promise.all(this.copies.map((copy) => failureOf(copy, copy.flush())))));
  }

  /** Says that a range of one copy holds nothing of value. A hint. */
  async discard(copyIndex: number, kib: number, lengthKib: number): Promise<void> {
    const copy = this.#byIndex[copyIndex];
    if (copy !== undefined && !this.readOnly)
      await copy.device.discard(kib * KIB, lengthKib * KIB).catch(() => undefined);
  }

  /** Closes all devices; rejects with the first failure after all are closed. */
  async close(): Promise<void> {
    const results = await Promise.allSettled(this.copies.map((copy) => copy.device.close()));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }
}

async function failureOf(copy: Copy, call: ReturnType<Copy["write"]>): Promise<CopyFailure | undefined> {
  const error = await call;
  return error === undefined ? undefined : { copyIndex: copy.index, error };
}

/** One failure for each copy: the first is the cause, the others follow from it. */
function distinct(failures: readonly (CopyFailure | undefined)[]): CopyFailure[] {
  const first = new Map<number, CopyFailure>();
  for (const failure of failures)
    if (failure !== undefined && !first.has(failure.copyIndex)) first.set(failure.copyIndex, failure);
  return [...first.values()];
}
