// Room for logs: segments of 64 KiB set aside on every copy in sync. They are in no bitmap on media, only in memory: a
// clean volume has no log, and after a crash the chain that the root names tells which places were its segments (trap 4).
// Last in, first out: a flush mostly meets places that were written before, for which the filesystem below has room already.

import { LOG_SEGMENT_KIB } from "../format/log-frame.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { type Freemap, NO_ROOM } from "../freemap/freemap.ts";

/** Of what is spare on a copy, the part that is prepared at a time: the rest is for logs meanwhile. */
const PREPARED_PART = 8;

/** First KiB on each copy, 0 for none. */
export type Segment = readonly number[];

/** Places on one copy, side by side, that are being prepared. */
export interface Unprepared {
  /** The allocator of that copy. */
  readonly freemap: Freemap;
  readonly places: readonly number[];
}

export class Segments {
  readonly #freemaps: readonly (Freemap | undefined)[];
  /** Per copy: places set aside and in no log now. */
  readonly #spare: number[][] = Array.from({ length: COPIES_MAX }, () => []);
  /** Per copy: places set aside that were in no log yet, and that nobody prepared. */
  readonly #fresh: Set<number>[] = Array.from({ length: COPIES_MAX }, () => new Set());
  /** Per copy: all places set aside. */
  readonly #all: Set<number>[] = Array.from({ length: COPIES_MAX }, () => new Set());

  /** Bit per copy that places are set aside on. */
  #mask = 0;

  constructor(freemaps: readonly (Freemap | undefined)[]) {
    this.#freemaps = freemaps;
  }

  /**
   * Sets room aside on every copy of `mask` until `count` segments are spare, and gives back what lies on others. May throw
   * MISS, to be called again. Where there is no room there are fewer.
   */
  provide(mask: number, count: number): void {
    this.#mask = mask;
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const freemap = this.#freemaps[copy];
      if (freemap === undefined) {
        this.#all[copy]?.clear();
        this.#fresh[copy]?.clear();
        this.#spare[copy] = [];
      } else if ((mask & (1 << copy)) === 0) this.#giveBack(freemap);
      else this.#fill(freemap, count);
    }
  }

  #fill(freemap: Freemap, count: number): void {
    const spare = this.#spare[freemap.copy] as number[];
    while (spare.length < count) {
      const kib = freemap.reserve(LOG_SEGMENT_KIB);
      if (kib === NO_ROOM) return;
      // Last to be taken: those before it may be prepared.
      spare.unshift(kib);
      this.#fresh[freemap.copy]?.add(kib);
      this.#all[freemap.copy]?.add(kib);
    }
  }

  #giveBack(freemap: Freemap): void {
    const all = this.#all[freemap.copy] as Set<number>;
    for (const kib of all) {
      freemap.endReservation(kib, LOG_SEGMENT_KIB, false);
      all.delete(kib);
    }
    this.#fresh[freemap.copy]?.clear();
    this.#spare[freemap.copy] = [];
  }

  /**
   * Spare places of a copy, one after the other on it, for the caller to prepare and to give back by `prepared`, while fewer than
   * `count` of its spare places are; undefined when there are none to prepare. Most of what is spare stays.
   */
  toPrepare(copy: number, count: number): Unprepared | undefined {
    const freemap = this.#freemaps[copy];
    if (freemap === undefined) return undefined;
    const spare = this.#spare[copy] as number[];
    const fresh = this.#fresh[copy] as Set<number>;
    const ready = spare.reduce((sum, kib) => (fresh.has(kib) ? sum : sum + 1), 0);
    const most = Math.min(count - ready, Math.max(1, Math.floor(spare.length / PREPARED_PART)));
    const places: number[] = [];
    while (places.length < most) {
      const last = places.at(-1);
      const at = spare.findLastIndex((kib) => fresh.has(kib) && (last === undefined || kib === last + LOG_SEGMENT_KIB));
      if (at < 0) break;
      const [kib] = spare.splice(at, 1) as [number];
      fresh.delete(kib);
      // Not given back with the others: what is under way there must be over first (trap 2).
      this.#all[copy]?.delete(kib);
      places.push(kib);
    }
    return places.length === 0 ? undefined : { freemap, places };
  }

  /** Places are ready to be written to: they are taken before all others. */
  prepared({ freemap, places }: Unprepared): void {
    const { copy } = freemap;
    // The copy left meanwhile, and another one may have got its index.
    if (this.#freemaps[copy] !== freemap) return;
    for (const kib of places) {
      if ((this.#mask & (1 << copy)) === 0) freemap.endReservation(kib, LOG_SEGMENT_KIB, false);
      else {
        this.#all[copy]?.add(kib);
        this.#spare[copy]?.push(kib);
      }
    }
  }

  /** A segment on every copy of `mask`; undefined when one of them has none spare. */
  take(mask: number): Segment | undefined {
    const places: number[] = [];
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      if ((mask & (1 << copy)) !== 0 && this.#spare[copy]?.length === 0) return undefined;
    }
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = (mask & (1 << copy)) === 0 ? 0 : (this.#spare[copy]?.pop() as number);
      this.#fresh[copy]?.delete(kib);
      places.push(kib);
    }
    return places;
  }

  /** Takes charge of places set aside by somebody else, which are a segment of a log now. */
  adopt(segment: Segment): void {
    for (const [copy, kib] of segment.entries()) if (kib !== 0) this.#all[copy]?.add(kib);
  }

  /** Nothing names the segment any more. */
  give(segment: Segment): void {
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = segment[copy] as number;
      const spare = this.#spare[copy] as number[];
      // A copy that left since has given its places back.
      if (kib !== 0 && this.#all[copy]?.has(kib) && !spare.includes(kib)) spare.push(kib);
    }
  }
}
