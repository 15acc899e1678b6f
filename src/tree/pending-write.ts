// A block on its way to media. Its bytes do not change until it is there: who changes it meanwhile copies it first.

import type { Block } from "./block.ts";

export interface PendingWrite {
  /** Its place on each copy, in KiB, 0 for none. */
  readonly pointers: readonly number[];
  readonly bytes: Uint8Array;
  readonly block: Block;
  /** It is file data on fewer copies than the volume has. */
  readonly narrow: boolean;
}
