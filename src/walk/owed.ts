// Finding what a copy is owed, and entering what it got (I8). Both go down from the root, into branches only where the copy
// lacks something, in key order, so the same refs are met in the same order, and where a walk stopped needs no note: what
// is done is no longer owed.
// Invariant I12: a block that no copy can give is passed by, and stays owed with all below it.

import { FsError } from "../base/errno.ts";
import { refIsDirty, refMissing, refOwed, refPointer, refType, setRefMissing } from "../format/blockref.ts";
import type { Block } from "../tree/block.ts";
import { holdsRefs } from "../tree/runs.ts";
import type { BlockStore } from "../tree/store.ts";
import { blockRefs, LiveNode } from "./live.ts";
import { blockKey, type NamedBlock, namedBlock } from "./named-block.ts";

export interface OwedList {
  readonly blocks: readonly NamedBlock[];
  /** Something is owed that can't be copied before the open transaction is durable. */
  readonly unsealed: boolean;
  /** How many refs were met whose blocks no copy can read: those, and what is below them, are owed still. */
  readonly passed: number;
}

/** What to do with a ref whose block, and nothing below it, is owed. False: enough for now. */
type OnOwed = (node: LiveNode, at: number) => boolean;

class OwedWalk {
  readonly #store: BlockStore;
  readonly #bit: number;
  readonly #onOwed: OnOwed;
  /** Marks that nothing stands behind any more are taken away; for that the walk must run as an operation. */
  readonly #clears: boolean;
  /** Keys of blocks that no copy can read. */
  readonly #unreadable: Set<string>;
  unsealed = false;
  stopped = false;
  passed = 0;

  constructor(store: BlockStore, copyIndex: number, unreadable: Set<string>, clears: boolean, onOwed: OnOwed) {
    this.#store = store;
    this.#bit = 1 << copyIndex;
    this.#unreadable = unreadable;
    this.#clears = clears;
    this.#onOwed = onOwed;
  }

  /** True when nothing below `node` is owed any more. */
  below(node: LiveNode): boolean {
    this.#prefetch(node.block);
    let settled = true;
    for (const at of blockRefs(node.block)) {
      if (refOwed(node.block.view, at, this.#bit) === 0) continue;
      if (this.stopped || !this.#ref(node, at)) settled = false;
    }
    return settled;
  }

  /** Asks for all blocks that will be entered at once, so that they are read together. */
  #prefetch(block: Block): void {
    for (const at of blockRefs(block)) {
      if (refOwed(block.view, at, this.#bit) === 0 || !holdsRefs(refType(block.view, at))) continue;
      if (this.#isUnreadable(block, at)) continue;
      try {
        this.#store.want(block, at);
      } catch (error) {
        if (!(error instanceof FsError)) throw error;
        this.#unreadable.add(blockKey(namedBlock(block, at)));
      }
    }
  }

  #isUnreadable(block: Block, at: number): boolean {
    return this.#unreadable.size > 0 && this.#unreadable.has(blockKey(namedBlock(block, at)));
  }

  /** True when the ref is settled. */
  #ref(node: LiveNode, at: number): boolean {
    if (this.#isUnreadable(node.block, at)) {
      this.passed++;
      return false;
    }
    if (holdsRefs(refType(node.block.view, at)) && !this.below(node.child(at))) return false;
    const { view } = node.block;
    if (refPointer(view, at, Math.log2(this.#bit)) !== 0) {
      if (this.#clears && (refMissing(view, at) & this.#bit) !== 0) {
        const block = node.writable();
        this.#store.touch(block);
        setRefMissing(block.view, at, refMissing(block.view, at) & ~this.#bit);
      }
      return true;
    }
    // Not before it is written on the copies that have it: until then they would seem to hold something else.
    if (refIsDirty(view, at) || (this.#store.peek(node.block, at)?.writing ?? 0) > 0) {
      this.unsealed = true;
      return false;
    }
    this.stopped = !this.#onOwed(node, at);
    return refOwed(node.block.view, at, this.#bit) === 0;
  }
}

/**
 * Up to `blocksMax` blocks, of `bytesMax` together, that copy `copyIndex` is owed, but for those in `unreadable` (by `blockKey`) and
 * what is below them; blocks on the way that no copy can read are added to it. May throw MISS.
 */
export function findOwed(
  store: BlockStore,
  rootImage: Block,
  copyIndex: number,
  limits: { readonly blocksMax: number; readonly bytesMax: number },
  unreadable: Set<string>,
): OwedList {
  const blocks: NamedBlock[] = [];
  let bytes = 0;
  const walk = new OwedWalk(store, copyIndex, unreadable, false, (node, at) => {
    const owed = namedBlock(node.block, at);
    blocks.push(owed);
    bytes += owed.sizeBytes;
    return blocks.length < limits.blocksMax && bytes < limits.bytesMax;
  });
  const settled = walk.below(new LiveNode(store, rootImage));
  // Marked, but nothing stands behind the marks: the next transaction takes them away.
  const unsealed = walk.unsealed || (settled && blocks.length === 0 && anythingOwed(rootImage, copyIndex));
  return { blocks, unsealed, passed: walk.passed };
}

function anythingOwed(rootImage: Block, copyIndex: number): boolean {
  for (const at of blockRefs(rootImage)) if (refOwed(rootImage.view, at, 1 << copyIndex) !== 0) return true;
  return false;
}

/** Blocks met that were not brought before the search for the remaining ones is given up. */
const OTHERS_MAX = 1024;

/**
 * Enters the places of `brought` (by `blockKey`) wherever a ref names such a block and copy `copyIndex` is owed it; what is
 * `waived` is owed to it no more; what is `unreadable`, as for `findOwed`, stays owed. Returns the keys of those brought that were
 * found. Must run as an operation; may throw MISS.
 */
export function enterBrought(
  store: BlockStore,
  rootImage: Block,
  copyIndex: number,
  brought: ReadonlyMap<string, number>,
  waived: ReadonlySet<string>,
  unreadable: Set<string>,
): ReadonlySet<string> {
  const entered = new Set<string>();
  let others = 0;
  const walk = new OwedWalk(store, copyIndex, unreadable, true, (node, at) => {
    const key = blockKey(namedBlock(node.block, at));
    const kib = brought.get(key);
    if (waived.has(key)) {
      store.pointers.forget(node.writable(), at, copyIndex);
      return true;
    }
    // Some may be gone by now: then not all the rest is searched for them.
    if (kib === undefined) return entered.size < brought.size && ++others < OTHERS_MAX;
    store.pointers.set(node.writable(), at, copyIndex, kib);
    entered.add(key);
    return true;
  });
  walk.below(new LiveNode(store, rootImage));
  return entered;
}
