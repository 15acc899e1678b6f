// Writes that were answered and that no acknowledged flush covers yet. A server that restarts may have lost any of them, so
// all are sent again after every reconnect (I1: nothing counts as flushed that a restart could take away).
// Where two of them overlap, the later one must land last: writes are put into waves, each to be answered before the next.

import type { Write } from "./transaction.ts";

const CHUNK_BYTES = 64 * 1024;

interface Kept {
  readonly write: Write;
  /** Rises with every write. */
  readonly number: number;
  /** One more than that of any earlier write it overlaps. */
  readonly wave: number;
}

export class KeptWrites {
  /** By the chunks they touch; a write is in the list of each. */
  readonly #byChunk = new Map<number, Kept[]>();
  readonly #all = new Set<Kept>();
  /** Called with each write that need not be kept any longer. */
  readonly #release: (write: Write) => void;
  #lastNumber = 0;
  #bytes = 0;

  constructor(release: (write: Write) => void) {
    this.#release = release;
  }

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#all.size;
  }

  /** Number of the newest write; a flush that is sent now covers those up to it. */
  get lastNumber(): number {
    return this.#lastNumber;
  }

  /** Keeps an answered write. One that it covers wholly is let go of. */
  add(write: Write): void {
    let wave = 0;
    for (const older of this.#overlapping(write.offsetBytes, write.lengthBytes)) {
      if (covers(write, older.write)) this.#forget(older);
      else wave = Math.max(wave, older.wave + 1);
    }
    const kept = { write, number: ++this.#lastNumber, wave };
    this.#all.add(kept);
    this.#bytes += write.lengthBytes;
    for (let chunk = firstChunk(write.offsetBytes); chunk <= lastChunk(write.offsetBytes, write.lengthBytes); chunk++) {
      const list = this.#byChunk.get(chunk);
      if (list === undefined) this.#byChunk.set(chunk, [kept]);
      else list.push(kept);
    }
  }

  /** True when a kept write touches the range. */
  overlaps(offsetBytes: number, lengthBytes: number): boolean {
    return this.#overlapping(offsetBytes, lengthBytes).length > 0;
  }

  /** A flush that was sent when `number` was the newest is acknowledged. */
  flushed(number: number): void {
    for (const kept of this.#all) {
      if (kept.number > number) break; // In the order they came.
      this.#forget(kept);
    }
  }

  /** All writes, in waves: those of one overlap nowhere. */
  waves(): Write[][] {
    const waves: Write[][] = [];
    for (const { write, wave } of this.#all) (waves[wave] ??= []).push(write);
    return waves.filter((writes) => writes !== undefined);
  }

  clear(): void {
    for (const kept of this.#all) this.#forget(kept);
  }

  #overlapping(offsetBytes: number, lengthBytes: number): Kept[] {
    const found: Kept[] = [];
    const first = firstChunk(offsetBytes);
    for (let chunk = first; chunk <= lastChunk(offsetBytes, lengthBytes); chunk++) {
      const list = this.#byChunk.get(chunk);
      if (list === undefined) continue;
      for (const kept of list) {
        const { write } = kept;
        // Found once, in the first chunk that both touch.
        if (chunk !== Math.max(first, firstChunk(write.offsetBytes))) continue;
        if (write.offsetBytes < offsetBytes + lengthBytes && offsetBytes < write.offsetBytes + write.lengthBytes)
          found.push(kept);
      }
    }
    return found;
  }

  #forget(kept: Kept): void {
    const { write } = kept;
    this.#all.delete(kept);
    this.#bytes -= write.lengthBytes;
    for (let chunk = firstChunk(write.offsetBytes); chunk <= lastChunk(write.offsetBytes, write.lengthBytes); chunk++) {
      const list = this.#byChunk.get(chunk) as Kept[];
      if (list.length === 1) this.#byChunk.delete(chunk);
      else list.splice(list.indexOf(kept), 1);
    }
    this.#release(write);
  }
}

function covers(newer: Write, older: Write): boolean {
  return (
    newer.offsetBytes <= older.offsetBytes &&
    older.offsetBytes + older.lengthBytes <= newer.offsetBytes + newer.lengthBytes
  );
}

const firstChunk = (offsetBytes: number): number => Math.floor(offsetBytes / CHUNK_BYTES);
const lastChunk = (offsetBytes: number, lengthBytes: number): number =>
  Math.floor((offsetBytes + lengthBytes - 1) / CHUNK_BYTES);
