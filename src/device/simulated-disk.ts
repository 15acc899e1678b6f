// What happens to a set of simulated devices, written down: every write and every flush, in order, in one log for all
// of them, so that a crash test can rebuild what a power cut at any point may have left on each.

import type { PagedImage } from "./paged-image.ts";

export const SECTOR_BYTES = 512;

export interface WriteEvent {
  readonly kind: "write";
  readonly device: number;
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
  /** When its promise resolved, Infinity while it is under way: only then does a later flush cover it. */
  doneTick: number;
  /** A flush failed after this write: the system marked its pages clean, and no later flush makes it durable. */
  orphaned: boolean;
}

export interface FlushEvent {
  readonly kind: "flush";
  readonly device: number;
  /** When the flush was asked for: it covers the writes done before. */
  readonly startTick: number;
}

export type DiskEvent = WriteEvent | FlushEvent;

/** The machine whose power fails: names its devices by number and keeps the log of all of them. */
export class SimulatedDisk {
  readonly events: DiskEvent[] = [];
  /** What each device held when it was registered. */
  readonly origins: PagedImage[] = [];
  #tick = 0;

  /** Number of a new device whose content so far is `origin` (frozen from now on). */
  register(origin: PagedImage): number {
    return this.origins.push(origin) - 1;
  }

  tick(): number {
    return ++this.#tick;
  }
}

/** A write that reached the medium in a crash, whole or only the sectors named. */
export interface Survivor {
  readonly event: WriteEvent;
  /** Bit per 512-byte sector of the write that made it; undefined for all. */
  readonly sectors?: readonly boolean[];
}

const overlap = (one: WriteEvent, other: WriteEvent): boolean =>
  one.offsetBytes < other.offsetBytes + other.bytes.length && other.offsetBytes < one.offsetBytes + one.bytes.length;

/**
 * What one device may hold after a power cut, at a point of the log that only moves forward.
 * Writes covered by a flush are on the medium; the others of before the cut may be there, in part, in any order.
 */
export class CrashPoint {
  readonly #disk: SimulatedDisk;
  readonly #device: number;
  #durable: PagedImage;
  #pending: WriteEvent[] = [];
  #cut = 0;

  constructor(disk: SimulatedDisk, device: number) {
    this.#disk = disk;
    this.#device = device;
    this.#durable = (disk.origins[device] as PagedImage).fork();
  }

  /** Writes before the cut that no flush covers, in the order they were issued. */
  get pending(): readonly WriteEvent[] {
    return this.#pending;
  }

  /** Moves the cut to just before event `cut` of the log (its length for the end). */
  advanceTo(cut: number): void {
    for (; this.#cut < cut; this.#cut++) {
      const event = this.#disk.events[this.#cut];
      if (event === undefined || event.device !== this.#device) continue;
      if (event.kind === "write") {
        this.#pending.push(event);
        continue;
      }
      const covered = (write: WriteEvent): boolean => write.doneTick <= event.startTick && !write.orphaned;
      if (!this.#pending.some(covered)) continue;
      const durable = this.#durable.frozen ? this.#durable.fork() : this.#durable;
      const landed = this.#pending.filter(covered);
      for (const write of landed) durable.write(write.offsetBytes, write.bytes);
      // What a failed flush left of a write may be on the medium, but not over what was written there later, and flushed.
      const isOver = (write: WriteEvent): boolean =>
        write.orphaned && landed.some((later) => later.doneTick > write.doneTick && overlap(later, write));
      this.#pending = this.#pending.filter((write) => !covered(write) && !isOver(write));
      this.#durable = durable;
    }
  }

  /** The medium when exactly `survivors` of the pending writes reached it, in the order given. */
  image(survivors: readonly Survivor[]): PagedImage {
    const image = this.#durable.fork();
    for (const { event, sectors } of survivors) {
      if (sectors === undefined) image.write(event.offsetBytes, event.bytes);
      else {
        sectors.forEach((made, i) => {
          const from = i * SECTOR_BYTES;
          if (made) image.write(event.offsetBytes + from, event.bytes.subarray(from, from + SECTOR_BYTES));
        });
      }
    }
    return image;
  }
}
