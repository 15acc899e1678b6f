// The slow way of a read: a copy did not give a block in time, or gave one that is not what the parent remembers. Every
// other copy is asked, one after the other; the next as soon as the one before failed or is overdue. What verifies first
// is handed out and written over the bad ones.
// Invariants: I5 (never return bytes whose check failed; repair only from a verified block, and read it back), I9 (no copy
// is waited for that another can stand in for). A read left behind keeps its buffer: each attempt beside one that is
// still under way gets a buffer of its own, and the winner's becomes the request's.

import type { Clock } from "../base/clock.ts";
import { type CheckType, checkMatches } from "../format/check.ts";
import { COPIES_MAX, KIB } from "../format/geometry.ts";
import type { BlockRead } from "./block-io.ts";
import type { Copy, Standing } from "./copy.ts";
import { allWithinDeadline } from "./deadline.ts";
import { type BadPlace, CorruptBlockError } from "./errors.ts";
import { OVERDUE, type ReadWatch, type WatchedRead } from "./read-watch.ts";

interface Bad {
  readonly copy: Copy;
  readonly place: BadPlace;
  /** False when the pointer itself is nonsense: nothing may be written there. */
  readonly repairable: boolean;
}

/** What became of a block looked at on every copy. */
export interface Mended {
  readonly bad: number;
  readonly repaired: number;
  /** It was bad, and no copy at hand had it. */
  readonly lost: boolean;
}

/** A read under way for a block. */
interface Attempt {
  readonly read: WatchedRead;
  readonly bytes: Uint8Array;
  /** It reads neighbours too: that it failed says nothing of this block. */
  readonly shared: boolean;
}

/** What reads and repairs depend on. */
export interface RecoveryParts {
  /** By index. */
  readonly copies: readonly (Copy | undefined)[];
  readonly watch: ReadWatch;
  readonly clock: Clock;
  readonly deadlineMs: () => number;
  /** Whether this copy may be written to at this moment. */
  readonly mayRepair: (copy: Copy) => boolean;
  /** Whether there are other copies to go on with. */
  readonly isSpareable: (copy: Copy) => boolean;
  /** Called after a copy was given up. */
  readonly onStalled: () => void;
}

/** True when `bytes`, by default those of the request's target, are the block its parent remembers. */
export function verifies(request: BlockRead, bytes = request.target): boolean {
  const { check } = request;
  const view = new DataView(check.buffer, check.byteOffset, check.length);
  return checkMatches(request.checkType as CheckType, bytes, view, 0);
}

export class Recovery {
  readonly #parts: RecoveryParts;
  /** Repairs under way by place, so that two readers of one bad block repair it once. */
  readonly #repairs = new Map<number, Promise<boolean>>();

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
  }

  /** Notes that a copy failed to give a block. */
  blame(copy: Copy, request: BlockRead, reason: string, isReadError: boolean, repairable = true): Bad {
    if (isReadError) copy.errors.read++;
    else copy.errors.checksum++;
    const kib = request.pointers[copy.index] as number;
    return { copy, place: { copyIndex: copy.index, copyName: copy.name, kib, reason }, repairable };
  }

  /**
   * Serves `request` from any copy but `known` (which failed already), repairs if allowed, and only then resolves: whoever
   * waits may take it that no write is left on the places of this block. `late` is a read for it that is overdue.
   */
  async recover(request: BlockRead, known: Bad | undefined, late?: WatchedRead): Promise<void> {
    const bad: Bad[] = known === undefined ? [] : [known];
    const { open, frozen } = this.#candidates(request, known?.copy ?? late?.copy, bad);
    const underWay = new Set<Attempt>();
    if (late !== undefined) underWay.add({ read: late, bytes: request.target, shared: true });
    for (;;) {
      // One that is frozen is no help to those who wait, only the last hope.
      const copy = open.shift() ?? (underWay.size === 0 ? frozen.shift() : undefined);
      if (copy !== undefined) underWay.add(this.#ask(copy, request, underWay.size > 0));
      if (underWay.size === 0) break;
      const ended = await firstOf(underWay, open.length > 0);
      if (ended === undefined) continue;
      underWay.delete(ended);
      const failure = await ended.read.over;
      // It was given up, not over: the buffer is still its own.
      if (failure?.code === "ETIMEDOUT" && ended.bytes === request.target)
        request.target = new Uint8Array(request.target.length);
      if (failure !== undefined && ended.shared && !ended.read.copy.stalled) open.push(ended.read.copy);
      else if (failure !== undefined) bad.push(this.blame(ended.read.copy, request, failure.code, true));
      else if (!verifies(request, ended.bytes))
        bad.push(this.blame(ended.read.copy, request, "check code does not match", false));
      else {
        request.target = ended.bytes;
        for (const { read } of underWay) read.expires();
        await Promise.all(bad.map((one) => this.#repair(one, ended.bytes)));
        return;
      }
    }
    request.target.fill(0);
    request.error = new CorruptBlockError(
      request.target.length,
      bad.map((one) => one.place),
    );
  }

  /**
   * Reads `request` from each of `copies` for itself and writes what verifies over what does not; where none of them has it
   * good, any other copy will do. Tells how many of them had it bad, and how many of those were repaired.
   */
  async mend(request: BlockRead, copies: readonly Copy[]): Promise<Mended> {
    const bad: Bad[] = [];
    let verified: Uint8Array | undefined;
    for (const copy of copies) {
      if (request.pointers[copy.index] === 0) continue;
      const own = { ...request, target: new Uint8Array(request.target.length) };
      const failed = await this.#attempt(copy, own);
      if (failed === undefined) verified ??= own.target;
      else bad.push(failed);
    }
    if (bad.length > 0) verified ??= await this.#elsewhere(request, copies);
    if (verified === undefined) return { bad: bad.length, repaired: 0, lost: bad.length > 0 };
    let repaired = 0;
    for (const one of bad) if (await this.#repair(one, verified)) repaired++;
    return { bad: bad.length, repaired, lost: false };
  }

  /** The block from a copy that is none of `copies`. */
  async #elsewhere(request: BlockRead, copies: readonly Copy[]): Promise<Uint8Array | undefined> {
    for (const copy of this.#parts.copies) {
      const kib = copy === undefined ? 0 : (request.pointers[copy.index] as number);
      if (copy === undefined || kib === 0 || copies.includes(copy) || !mayAsk(copy, kib)) continue;
      if (copy.holds(kib * KIB, request.target.length)) continue;
      const own = { ...request, target: new Uint8Array(request.target.length) };
      if ((await this.#attempt(copy, own)) === undefined) return own.target;
    }
    return undefined;
  }

  async #attempt(copy: Copy, request: BlockRead): Promise<Bad | undefined> {
    const kib = request.pointers[copy.index] as number;
    const refusal = copy.placeRefusal(kib, request.target.length);
    if (refusal !== undefined) return this.blame(copy, request, refusal, false, false);
    const read = this.#parts.watch.read(copy, kib * KIB, [request.target]);
    if (this.#parts.isSpareable(copy)) read.expires();
    const failure = await read.over;
    if (failure !== undefined) return this.blame(copy, request, failure.code, true);
    return verifies(request) ? undefined : this.blame(copy, request, "check code does not match", false);
  }

  /**
   * Copies to ask, the nearest first, then those with overdue reads, then those out of use, and by themselves those where the
   * block lies on a frozen node. Pointers that can't be followed go to `bad`.
   */
  #candidates(request: BlockRead, except: Copy | undefined, bad: Bad[]): { open: Copy[]; frozen: Copy[] } {
    const prompt: Copy[] = [];
    const slow: Copy[] = [];
    const outOfUse: Copy[] = [];
    const frozen: Copy[] = [];
    for (let index = 0; index < COPIES_MAX; index++) {
      const copy = this.#parts.copies[index];
      const kib = request.pointers[index] as number;
      if (copy === undefined || copy === except || kib === 0 || !mayAsk(copy, kib)) continue;
      const refusal = copy.placeRefusal(kib, request.target.length);
      if (refusal !== undefined) bad.push(this.blame(copy, request, refusal, false, false));
      else if (copy.holds(kib * KIB, request.target.length)) frozen.push(copy);
      else if (!copy.active) outOfUse.push(copy);
      else if (copy.overdueReads > 0) slow.push(copy);
      else prompt.push(copy);
    }
    const byDistance = (a: Copy, b: Copy): number => a.distanceMs - b.distanceMs;
    return { open: [prompt, slow, outOfUse].flatMap((copies) => copies.sort(byDistance)), frozen };
  }

  #ask(copy: Copy, request: BlockRead, ownBuffer: boolean): Attempt {
    const bytes = ownBuffer ? new Uint8Array(request.target.length) : request.target;
    const offsetBytes = (request.pointers[copy.index] as number) * KIB;
    return { read: this.#parts.watch.read(copy, offsetBytes, [bytes]), bytes, shared: false };
  }

  /** True when the place is good now. */
  async #repair({ copy, place, repairable }: Bad, verified: Uint8Array): Promise<boolean> {
    if (!repairable || copy.failure !== undefined || !copy.active || copy.untrusted) return false;
    if (copy.holds(place.kib * KIB, verified.length) || !this.#parts.mayRepair(copy)) return false;
    const key = place.kib * COPIES_MAX + copy.index;
    let repair = this.#repairs.get(key);
    if (repair === undefined) {
      repair = this.#rewriteInTime(copy, place.kib * KIB, verified).finally(() => this.#repairs.delete(key));
      this.#repairs.set(key, repair);
    }
    return repair;
  }

  async #rewriteInTime(copy: Copy, offsetBytes: number, verified: Uint8Array): Promise<boolean> {
    let good = false;
    // A copy of the bytes: a repair that stalls must not read them from a buffer that became somebody else's.
    const done = rewrite(copy, offsetBytes, verified.slice()).then((isGood) => void (good = isGood));
    await allWithinDeadline(
      this.#parts.clock,
      this.#parts.deadlineMs(),
      "write",
      [{ copy, done }],
      this.#parts.isSpareable,
    );
    if (copy.failure !== undefined) this.#parts.onStalled();
    return good && copy.failure === undefined;
  }
}

const LAST_RESORTS: readonly Standing[] = ["faulted", "leaving", "stale", "unknown"];

/** The attempt that ends first; undefined when the newest is overdue before and `hedge` says that there is another to make. */
async function firstOf(underWay: ReadonlySet<Attempt>, hedge: boolean): Promise<Attempt | undefined> {
  const attempts = [...underWay];
  const ends: Promise<Attempt | undefined>[] = attempts.map((attempt) => attempt.read.over.then(() => attempt));
  const newest = attempts.at(-1);
  if (hedge && newest !== undefined) ends.push(newest.read.first.then((end) => (end === OVERDUE ? undefined : newest)));
  return Promise.race(ends);
}

/**
 * A copy dropped after an error, or not taken back yet, may still hold what is asked for, and alone if that was written under
 * copies=K, and so may the other nodes of a row of which one is suspended; a copy that stalled or was taken out is left alone.
 */
function mayAsk(copy: Copy, kib: number): boolean {
  if (copy.active) return !copy.stalled;
  if (copy.standing === "offline") return copy.suspendedNode !== undefined && !copy.released && !copy.isLetGo(kib);
  return LAST_RESORTS.includes(copy.standing) && !copy.released && !copy.stalled;
}

/** A repair that fails is counted and changes nothing else: the block is as bad as it was. */
async function rewrite(copy: Copy, offsetBytes: number, verified: Uint8Array): Promise<boolean> {
  try {
    await copy.rewrite(offsetBytes, verified);
  } catch {
    copy.errors.write++;
    return false;
  }
  const back = new Uint8Array(verified.length);
  try {
    await copy.read(offsetBytes, [back]);
  } catch {
    copy.errors.read++;
    return false;
  }
  const good = Buffer.compare(back, verified) === 0;
  if (good) copy.repaired++;
  else copy.errors.checksum++;
  return good;
}
