// The free-space bitmaps as trees on media, one for each copy, every one of them stored on all copies. A commit gives
// each changed leaf a new place, which changes bitmaps again, until nothing new changes (each leaf moves at most once);
// only then are contents and check codes written, and nothing is allocated after that.

import { assert } from "../base/assert.ts";
import { RefType, refKey, setRefFreeSpace } from "../format/blockref.ts";
import { FREEMAP_LEAF_BYTES } from "../format/freemap.ts";
import { rootFreemapOffset } from "../format/root-block.ts";
import { Claim, Freemap, LOST_LEAF } from "../freemap/freemap.ts";
import type { Leaf } from "../freemap/leaf.ts";
import type { Block } from "../tree/block.ts";
import { MISS } from "../tree/miss.ts";
import type { BlockStore } from "../tree/store.ts";
import { type Root, treeFind } from "../tree/tree.ts";
import { treeEdit, treeInsert } from "../tree/tree-edit.ts";
import { FreemapFault, lookingInto } from "./freemap-fault.ts";

/** Root of the freemap tree of one copy in a root image. */
export function freemapRoot(rootImage: Block, copy: number): Root {
  return { block: rootImage, at: rootFreemapOffset(copy), refs: 1 };
}

/** What becomes of a leaf that can't be read: it is a fault for who needs it, or, where nothing is ever written, counts as used. */
export type LostLeaves = "fault" | "used";

/** The words of leaf `index` as the root image names them; undefined when it is all free. May throw MISS. */
export function readLeafWords(store: BlockStore, root: Root, index: number): Uint32Array | undefined {
  const position = treeFind(store, root, index);
  if (position === undefined) return undefined;
  const block = store.block(position.block, position.at);
  assert(block.type === RefType.FREEMAP, "a freemap leaf of another type");
  return new Uint32Array(block.bytes.slice().buffer);
}

/**
 * The allocator of one copy, entered into the store. A leaf is never looked up by the operation that needs it: the tree may
 * be the very one that operation is changing. One that can't be read is a FreemapFault, for whoever needs it: others that load blocks
 * meanwhile are not told.
 */
export function freemapFor(
  store: BlockStore,
  rootImage: Block,
  { index, sizeKib }: { readonly index: number; readonly sizeKib: number },
  lostLeaves: LostLeaves = "fault",
): Freemap {
  const root = freemapRoot(rootImage, index);
  const faults = new Map<number, FreemapFault>();
  /** Leaves that could not be read when they were asked for last. */
  const lost = new Set<number>();
  const read = (leaf: number): Uint32Array | typeof LOST_LEAF | undefined => {
    try {
      return lookingInto(index, () => readLeafWords(store, root, leaf));
    } catch (error) {
      if (error instanceof FreemapFault && lostLeaves === "used") return LOST_LEAF;
      throw error;
    }
  };
  const freemap: Freemap = new Freemap(index, sizeKib, (leaf) => {
    const fault = faults.get(leaf);
    if (fault !== undefined) {
      // Told once: whoever needs it next has it read again.
      faults.delete(leaf);
      throw fault;
    }
    if (!store.inOperation) return read(leaf);
    store.wantLeaf(() => {
      try {
        freemap.leaf(leaf);
        lost.delete(leaf);
      } catch (error) {
        if (!(error instanceof FreemapFault)) throw error;
        error.isRepeated = lost.has(leaf);
        lost.add(leaf);
        faults.set(leaf, error);
      }
    });
    throw MISS;
  });
  store.freemaps[index] = freemap;
  return freemap;
}

/**
 * Applies the frees of the open transaction and gives every changed leaf its new place. May throw MISS, to be called
 * again once the block is here: what is done by then stays.
 */
export function relocateLeaves(store: BlockStore, rootImage: Block): void {
  for (let settled = false; !settled; ) {
    settled = true;
    for (const freemap of store.freemaps) {
      if (freemap === undefined) continue;
      freemap.applyPending(store.tid);
      for (const leaf of [...freemap.changedLeaves()]) {
        if (leaf.relocatedIn === store.tid) continue;
        settled = false;
        store.attempt(Claim.COMMIT, () => relocate(store, rootImage, freemap, leaf));
        leaf.relocatedIn = store.tid;
      }
    }
    // A relocation frees places, on copies before its own as well.
    if (store.freemaps.some((freemap) => freemap !== undefined && freemap.pendingCount > 0)) settled = false;
  }
}

function relocate(store: BlockStore, rootImage: Block, freemap: Freemap, leaf: Leaf): void {
  const root = freemapRoot(rootImage, freemap.copy);
  const position = treeEdit(store, root, leaf.index);
  if (position !== undefined) {
    store.edit(position.block, position.at);
    return;
  }
  const inserted = treeInsert(store, root, leaf.index);
  store.create(inserted.block, inserted.at, RefType.FREEMAP, FREEMAP_LEAF_BYTES);
}

/** Writes the final bits of every changed leaf into its block, and its summary into its ref. Nothing is missing now. */
export function fillLeaves(store: BlockStore, rootImage: Block): void {
  for (const freemap of store.freemaps) {
    if (freemap === undefined) continue;
    for (const leaf of [...freemap.changedLeaves()]) {
      const position = treeFind(store, freemapRoot(rootImage, freemap.copy), leaf.index);
      assert(
        position !== undefined && refKey(position.block.view, position.at) === leaf.index,
        "a changed leaf has no place",
      );
      const block = store.block(position.block, position.at);
      assert(block.dirty, "a changed leaf was not given a new place");
      block.bytes.set(new Uint8Array(leaf.words.buffer, leaf.words.byteOffset, FREEMAP_LEAF_BYTES));
      const { freeKib, freeChunks } = freemap.recordedFree(leaf);
      setRefFreeSpace(position.block.view, position.at, freeKib, freeChunks);
      leaf.changed = false;
    }
  }
}
