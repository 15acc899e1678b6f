// Requests for blocks, and how they are gathered into few device calls.

import { KIB } from "../format/geometry.ts";
import type { CorruptBlockError } from "./errors.ts";

export interface BlockRead {
  /** Place on each of the eight copies in KiB, 0 for none. */
  readonly pointers: readonly number[];
  readonly checkType: number;
  /** The 32 bytes of check code the parent remembers. */
  readonly check: Uint8Array;
  /**
   * As long as the block; all zero when `error` is set. Replaced when another copy answered while a read into the first
   * buffer is still under way: that buffer may be written to at any time and must not be used again (I9).
   */
  target: Uint8Array;
  /** Metadata comes from the master, data from all copies in turn. */
  readonly metadata: boolean;
  error?: CorruptBlockError;
}

export interface BlockWrite {
  readonly pointers: readonly number[];
  readonly bytes: Uint8Array;
}

/** Bounds of one device call. */
const CALL_BYTES_MAX = 1024 * 1024;
const CALL_BUFFERS_MAX = 1024;

/** Blocks adjacent on one copy. */
export interface Run<T> {
  readonly offsetBytes: number;
  readonly buffers: Uint8Array[];
  readonly items: T[];
}

/** Sorts `items` by their place on copy `index` and gathers neighbours into runs of at most 1 MiB. */
export function gatherRuns<T extends { readonly pointers: readonly number[] }>(
  items: T[],
  index: number,
  bufferOf: (item: T) => Uint8Array,
): Run<T>[] {
  const placeOf = (item: T): number => item.pointers[index] as number;
  let sorted = true;
  for (let i = 1; sorted && i < items.length; i++) sorted = placeOf(items[i - 1] as T) <= placeOf(items[i] as T);
  if (!sorted) items.sort((a, b) => placeOf(a) - placeOf(b));
  const runs: Run<T>[] = [];
  let run: Run<T> | undefined;
  let endBytes = 0;
  for (const item of items) {
    const offsetBytes = placeOf(item) * KIB;
    const buffer = bufferOf(item);
    const fits =
      run !== undefined &&
      offsetBytes === endBytes &&
      endBytes + buffer.length - run.offsetBytes <= CALL_BYTES_MAX &&
      run.buffers.length < CALL_BUFFERS_MAX;
    if (run === undefined || !fits) {
      run = { offsetBytes, buffers: [], items: [] };
      runs.push(run);
    }
    run.buffers.push(buffer);
    run.items.push(item);
    endBytes = offsetBytes + buffer.length;
  }
  return runs;
}
