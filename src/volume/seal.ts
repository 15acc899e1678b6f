// Sealing a transaction: every dirty block reachable from the root image gets its check code, children before parents,
// so that the root image finally names only finished blocks, and every ref says which copies are owed something below it
// (I8). Synchronous; nothing is allocated or missing here.

import { BLOCKREF_BYTES, refIsDirty, refOwed } from "../format/blockref.ts";
import type { Block } from "../tree/block.ts";
import { refRuns } from "../tree/runs.ts";
import type { PendingWrite } from "../tree/pending-write.ts";
import type { BlockStore } from "../tree/store.ts";

/** What sealing a transaction gave. */
export interface Sealed {
  /** In an order that keeps neighbours together. */
  readonly writes: readonly PendingWrite[];
  /** Bit per copy that is still owed something, somewhere. */
  readonly owed: number;
}

/** Seals everything dirty and returns the writes it needs. */
export function sealAll(store: BlockStore, rootImage: Block): Sealed {
  const writes: PendingWrite[] = [];
  const owed = sealBelow(store, rootImage, writes);
  return { writes, owed };
}

/** Seals what is dirty below `block`; returns the copies owed something there. */
function sealBelow(store: BlockStore, block: Block, writes: PendingWrite[]): number {
  const { owing } = store;
  let owed = 0;
  for (const { at, refs } of refRuns(block)) {
    for (let ref = at; ref < at + refs * BLOCKREF_BYTES; ref += BLOCKREF_BYTES) {
      if (refIsDirty(block.view, ref)) {
        const child = store.block(block, ref);
        writes.push(store.seal(block, ref, child, sealBelow(store, child, writes)));
      }
      if (owing !== 0) owed |= refOwed(block.view, ref, owing);
    }
  }
  return owed;
}
