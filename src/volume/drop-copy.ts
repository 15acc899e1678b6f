// Taking a copy out of the live tree after it failed (I2): every pointer to it that it never flushed is cleared, in the open
// transaction and in the one whose commit was given up, and its place freed. What it flushed before stays promised (I1).
// Synchronous. All blocks concerned are in memory: they are dirty, or sealed and kept until their root is durable.

import { BLOCKREF_BYTES, refIsBare, refIsDirty, refModifyTid } from "../format/blockref.ts";
import type { Block } from "../tree/block.ts";
import { refRuns } from "../tree/runs.ts";
import type { BlockStore } from "../tree/store.ts";

/** Clears the pointers to `copy` of everything at or below `holder` that got its place after `flushedTid`; true if any changed. */
export function clearUnflushed(store: BlockStore, holder: Block, copy: number, flushedTid: number): boolean {
  let changed = false;
  for (const { at, refs } of refRuns(holder)) {
    for (let ref = at; ref < at + refs * BLOCKREF_BYTES; ref += BLOCKREF_BYTES) {
      if (refIsBare(holder.view, ref)) continue;
      const block = store.peek(holder, ref);
      // A block of data is known by its age alone: it may have been written and evicted already.
      const young =
        refIsDirty(holder.view, ref) ||
        refModifyTid(holder.view, ref) > flushedTid ||
        (block !== undefined && block.bornIn > flushedTid);
      if (!young) continue;
      if (store.clearPointer(holder, ref, copy)) changed = true;
      if (block !== undefined && clearUnflushed(store, block, copy, flushedTid)) {
        store.unseal(holder, ref, block);
        changed = true;
      }
    }
  }
  return changed;
}
