// Versions of the root ring are chained: c = H(a, b). Of three slots exactly one order satisfies it, and that order
// says which slot is overwritten next, which is the backup and which is current, without trusting any counter.

import { equalBytes } from "../base/uuid.ts";
import { sha256 } from "./check.ts";

export const VERSION_BYTES = 16;

/** H(a, b): SHA-256 over both versions as stored, cut to 16 bytes. */
export function chainVersion(a: Uint8Array, b: Uint8Array): Uint8Array {
  return sha256(a, b).subarray(0, VERSION_BYTES);
}

/** Slot numbers in the order of their age. */
export interface ChainOrder {
  readonly overwrite: number;
  readonly backup: number;
  readonly current: number;
}

const PERMUTATIONS: readonly (readonly [number, number, number])[] = [
  [0, 1, 2],
  [1, 2, 0],
  [2, 0, 1],
  [0, 2, 1],
  [1, 0, 2],
  [2, 1, 0],
];

/** The order of three versions that satisfies H(overwrite, backup) = current; undefined when none or several do. */
export function chainOrder(versions: readonly [Uint8Array, Uint8Array, Uint8Array]): ChainOrder | undefined {
  let found: ChainOrder | undefined;
  for (const [overwrite, backup, current] of PERMUTATIONS) {
    const expected = chainVersion(versions[overwrite] as Uint8Array, versions[backup] as Uint8Array);
    if (!equalBytes(expected, versions[current] as Uint8Array)) continue;
    if (found !== undefined) return undefined;
    found = { overwrite, backup, current };
  }
  return found;
}
