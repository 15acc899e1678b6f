// Taking a copy out of the live tree after it failed (I2): every pointer to it that it never flushed is cleared, in the open
// transaction and in the one whose commit was given up, and its place freed. What it flushed before stays promised (I1).
// A narrow block that was on that copy alone goes to another one, since it is still in memory.
// Synchronous. All blocks concerned are in memory: they are dirty, or sealed and kept until their root is durable.

import { FsError } from "../base/errno.ts";
import { BLOCKREF_BYTES, refIsBare, refIsDirty, refModifyTid, refType } from "../format/blockref.ts";
import { Claim } from "../freemap/freemap.ts";
import type { Block } from "../tree/block.ts";
import { NoSpace } from "../tree/miss.ts";
import { holdsRefs, refRuns } from "../tree/runs.ts";
import { isNarrow, placedOn } from "../tree/narrow.ts";
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
      if (isNarrow(holder.view, ref)) {
        if (store.pointers.clearNarrow(holder, ref, copy)) changed = true;
        continue;
      }
      if (store.pointers.clear(holder, ref, copy)) changed = true;
      if (block !== undefined && clearUnflushed(store, block, copy, flushedTid)) {
        store.unseal(holder, ref, block);
        changed = true;
      }
    }
  }
  return changed;
}

/**
 * Gives every narrow block that was left without a copy in sync new places, before anything is sealed. May throw MISS, to
 * be called again; FsError ENOSPC when the copies left have no room for it.
 */
export function placeStranded(store: BlockStore, rootImage: Block): void {
  if (!store.pointers.stranded) return;
  placeBelow(store, rootImage);
  store.pointers.stranded = false;
}

function placeBelow(store: BlockStore, holder: Block): void {
  for (const { at, refs } of refRuns(holder)) {
    for (let ref = at; ref < at + refs * BLOCKREF_BYTES; ref += BLOCKREF_BYTES) {
      if (!refIsDirty(holder.view, ref)) continue;
      if (holdsRefs(refType(holder.view, ref))) placeBelow(store, store.block(holder, ref));
      else if (isNarrow(holder.view, ref) && (placedOn(holder.view, ref) & store.inSync) === 0) {
        placeAnew(store, holder, ref);
      }
    }
  }
}

function placeAnew(store: BlockStore, holder: Block, at: number): void {
  try {
    store.attempt(Claim.COMMIT, () => store.pointers.placeAnew(holder, at));
  } catch (error) {
    if (!(error instanceof NoSpace)) throw error;
    throw new FsError(
      "ENOSPC",
      "a copy failed, and the others have no room for file data written under copies=K to it",
    );
  }
}
