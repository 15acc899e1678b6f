// The scrub: reads every block of every copy in sync, each for itself, and repairs a bad one in place from a verified copy
// (I5). It never prunes (a resync does, and is no scrub). It keeps a cursor and its findings in the root, so it goes on where
// it was at the next mount. Blocks of the open transaction are left out: they were written just now.
// A place may be used again once two more roots are durable: a repair is begun only while the live tree names the block, and
// holds up the letting go of places until it is over (I3).

import type { Clock } from "../base/clock.ts";
import { refIsDirty, refModifyTid } from "../format/blockref.ts";
import { rootScrub, rootScrubCursor, setRootScrub, setRootScrubCursor } from "../format/root-block.ts";
import { SCRUB_CURSOR_START, type ScrubRecord } from "../format/scrub-record.ts";
import type { Mended } from "../copies/recovery.ts";
import type { Block } from "../tree/block.ts";
import type { Volume } from "../volume/volume.ts";
import { blockKey, type NamedBlock, namedBlock, readOf } from "./named-block.ts";
import type { Pace } from "./pace.ts";
import { inodePlace, PASSED_BYTES, type Place, placeInode, Sweep } from "./sweep.ts";

interface MendedBlock extends Mended {
  readonly key: string;
}

const STEP_BYTES = 2 * 1024 * 1024;

export class Scrub {
  /** What it found so far. */
  readonly record: ScrubRecord;
  readonly #volume: Volume;
  readonly #clock: Clock;
  readonly #pace: Pace;
  readonly #sweep: Sweep;
  #stopped = false;
  #cancelled = false;
  #resume: (() => void) | undefined;
  #paused: Promise<void> | undefined;
  /** Those who want to know when it is paused. */
  readonly #onPause: (() => void)[] = [];
  /** Since when it runs; undefined while it is paused, and when it is over. */
  #sinceMs: number | undefined;
  #ranMs = 0;
  readonly #bytesBefore: number;

  /** Goes on with the scrub the root tells of, or begins one. */
  constructor(volume: Volume, clock: Clock, pace: Pace) {
    this.#volume = volume;
    this.#clock = clock;
    this.#pace = pace;
    this.#sweep = new Sweep(volume.store, volume.rootImage);
    const { view } = volume.rootImage;
    const goesOn = rootScrubCursor(view) !== 0;
    this.record = goesOn ? rootScrub(view) : { finishedSec: 0, blocks: 0, bytes: 0, errors: 0, repaired: 0, lost: 0 };
    this.#bytesBefore = this.record.bytes;
    this.#sinceMs = clock.monotonicMs();
  }

  /** What it read since the mount and how long that took, pauses left out: its rate. */
  get speed(): { readonly bytes: number; readonly ms: number } {
    const runningMs = this.#sinceMs === undefined ? 0 : this.#clock.monotonicMs() - this.#sinceMs;
    return { bytes: this.record.bytes - this.#bytesBefore, ms: this.#ranMs + runningMs };
  }

  get isPaused(): boolean {
    return this.#paused !== undefined;
  }

  /** Halts after the step under way, until `resume`. A scrub that is paused goes on at the next mount. */
  pause(): void {
    if (this.#paused !== undefined) return;
    this.#paused = new Promise((resolve) => (this.#resume = resolve));
    this.#stopClock();
    this.#pace.hurry(this);
    for (const told of this.#onPause.splice(0)) told();
  }

  #stopClock(): void {
    this.#ranMs = this.speed.ms;
    this.#sinceMs = undefined;
  }

  resume(): void {
    if (this.#paused === undefined) return;
    this.#resume?.();
    this.#paused = undefined;
    this.#sinceMs = this.#clock.monotonicMs();
  }

  /** Resolves when it is paused, at once if it is. */
  async untilPaused(): Promise<void> {
    if (this.#paused === undefined) await new Promise<void>((resolve) => this.#onPause.push(resolve));
  }

  get isCancelled(): boolean {
    return this.#cancelled;
  }

  /** Ends it after the step under way; it goes on at the next mount. */
  stop(): void {
    this.#stopped = true;
    this.resume();
    this.#pace.hurry(this);
  }

  /** Ends it for good; what it found is kept. */
  cancel(): void {
    this.#cancelled = true;
    this.stop();
  }

  /** Resolves with true when every block was looked at. */
  async run(): Promise<boolean> {
    try {
      return await this.#lookAtAll();
    } finally {
      this.#stopClock();
    }
  }

  async #lookAtAll(): Promise<boolean> {
    const cursor = rootScrubCursor(this.#volume.rootImage.view);
    let place: Place | undefined = inodePlace(cursor > SCRUB_CURSOR_START ? cursor : 0);
    await this.#keep(Math.max(cursor, SCRUB_CURSOR_START));
    // What was made durable through the log only is in no root yet: everything older than a scrub is looked at.
    if (cursor === 0) await this.#volume.forceCommit();
    while (place !== undefined) {
      await this.#paused;
      if (this.#stopped) {
        if (this.#cancelled) await this.#keep(0);
        return false;
      }
      const from: Place = place;
      const { blocks, next } = await this.#volume.view(() => this.#collect(from));
      if (!(await this.#check(from, blocks))) continue;
      place = next;
      if (next !== undefined) await this.#keep(placeInode(next) || rootScrubCursor(this.#volume.rootImage.view));
    }
    this.record.finishedSec = this.#clock.now().sec;
    await this.#keep(0);
    return true;
  }

  async #keep(cursor: number): Promise<void> {
    const { rootImage } = this.#volume;
    await this.#volume.maintain(({ store }) => {
      store.touch(rootImage);
      setRootScrubCursor(rootImage.view, cursor);
      setRootScrub(rootImage.view, this.record);
    });
  }

  #collect(place: Place): { blocks: NamedBlock[]; next: Place | undefined } {
    const blocks: NamedBlock[] = [];
    const next = this.#step(place, (named) => blocks.push(named));
    return { blocks, next };
  }

  /** One step over the blocks that are at rest. May throw MISS. */
  #step(place: Place, visit: (named: NamedBlock, holder: Block, at: number) => void): Place | undefined {
    return this.#sweep.step(place, STEP_BYTES, ({ block }, at) => {
      if (!this.#atRest(block, at)) return PASSED_BYTES;
      const named = namedBlock(block, at);
      visit(named, block, at);
      return named.sizeBytes;
    });
  }

  #atRest(block: Block, at: number): boolean {
    const { store } = this.#volume;
    if (refIsDirty(block.view, at) || refModifyTid(block.view, at) >= store.tid) return false;
    return (store.peek(block, at)?.writing ?? 0) === 0;
  }

  /** False when what was found bad could not be found again: the tree has changed, and the step is to be made once more. */
  async #check(place: Place, blocks: readonly NamedBlock[]): Promise<boolean> {
    const suspects = new Set<string>();
    let count = 0;
    let bytes = 0;
    // All copies at once: as a rule each has a disk of its own.
    const reading = this.#volume.copies.trusted.map(async (copy) => {
      const own = blocks.filter(({ pointers }) => pointers[copy.index] !== 0);
      const reads = own.map(readOf);
      await this.#volume.copies.alone(copy).readBlocks(reads);
      count += own.length;
      bytes += own.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      own.forEach((named, i) => reads[i]?.error !== undefined && suspects.add(blockKey(named)));
    });
    await Promise.all(reading);
    const mended = suspects.size === 0 ? [] : await this.#mend(place, suspects);
    // What was repaired is found good if the step is made once more, the rest is found bad again.
    for (const { repaired } of mended) {
      this.record.errors += repaired;
      this.record.repaired += repaired;
    }
    if (!this.#stopped && !this.isPaused) await this.#pace.take(this, bytes);
    if (mended.length < suspects.size) return false;
    const lost = new Set<string>();
    for (const { key, bad, repaired, lost: isLost } of mended) {
      this.record.errors += bad - repaired;
      if (isLost) lost.add(key);
    }
    this.record.lost += lost.size;
    if (lost.size > 0) await this.#noteLost(place, lost);
    this.record.blocks += count;
    this.record.bytes += bytes;
    return true;
  }

  /** Looks at the suspects again, those that the live tree still names in this step, and repairs them. */
  async #mend(place: Place, suspects: ReadonlySet<string>): Promise<readonly MendedBlock[]> {
    const { store, copies } = this.#volume;
    const { work } = await this.#volume.view(() => {
      const found = new Map<string, NamedBlock>();
      this.#step(place, (named) => {
        const key = blockKey(named);
        if (suspects.has(key)) found.set(key, named);
      });
      // Begun here, where nothing can come between, so that no place of theirs is given out before it is over.
      const work = Promise.all(
        [...found].map(async ([key, named]) => ({ key, ...(await copies.mend(readOf(named))) })),
      );
      store.holdPlaces(work);
      return { work };
    });
    return work;
  }

  /** Has the volume know, as if programs had read them, of those among the lost blocks that the live tree still names. */
  async #noteLost(place: Place, lost: ReadonlySet<string>): Promise<void> {
    const { store } = this.#volume;
    await this.#volume.view(() =>
      this.#step(place, (named, block, at) => {
        if (lost.has(blockKey(named))) store.noteLost(block, at);
      }),
    );
  }
}
