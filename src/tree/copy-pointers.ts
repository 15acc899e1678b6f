// What a ref says of one copy, changed when that copy leaves or returns: its pointer taken out or entered, without a change
// of the block named there. A block is known in the cache by its first pointer, so it may get another key on the way.
// Invariants: I1 (only a place that was flushed is entered), I2 (what a failed copy never flushed is taken out), I8 (a pointer
// taken out is owed from then on).

import { assert } from "../base/assert.ts";
import { refIsDirty, refMissing, refPointer, refSizeBytes, setRefMissing, setRefPointer } from "../format/blockref.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import type { Freemap } from "../freemap/freemap.ts";
import type { Block } from "./block.ts";
import { cacheKeyOf } from "./loader.ts";
import { placedOn, placementOf } from "./narrow.ts";
import type { Placing } from "./placing.ts";

/** The store whose refs these are. */
export interface PointerHost {
  readonly inSync: number;
  readonly inOperation: boolean;
  freemap(copy: number): Freemap;
  peek(holder: Block, at: number): Block | undefined;
  touch(block: Block): void;
  unseal(holder: Block, at: number, block: Block): void;
  /** The block known as `before` has the key that its ref at `at` says now. */
  rekey(before: number, holder: Block, at: number): void;
}

export class CopyPointers {
  readonly #host: PointerHost;
  readonly #placing: Placing;
  /** Narrow blocks of the open transaction were left without a copy in sync; they are placed anew before it is sealed. */
  stranded = false;

  constructor(host: PointerHost, placing: Placing) {
    this.#host = host;
    this.#placing = placing;
  }

  /**
   * Takes the pointer to `copy` out of a ref and frees its place: the block is owed to that copy now. True when there was
   * one. In an operation, or outside of any when it can't miss.
   */
  clear(holder: Block, at: number, copy: number): boolean {
    const view = holder.view;
    const kib = refPointer(view, at, copy);
    if (kib === 0) return false;
    if (this.#host.inOperation) this.#host.touch(holder);
    const before = cacheKeyOf(view, at);
    setRefPointer(view, at, copy, 0);
    setRefMissing(view, at, refMissing(view, at) | (1 << copy));
    this.#host.freemap(copy).freeLater(kib, refSizeBytes(view, at) / 1024);
    this.#host.rekey(before, holder, at);
    return true;
  }

  /**
   * Takes the pointer to `copy`, which failed before it flushed the block, out of a narrow ref: true when there was one. If
   * no other copy in sync has it, the block, which is in memory, counts as dirty again until `placeAnew`.
   */
  clearNarrow(holder: Block, at: number, copy: number): boolean {
    const { view } = holder;
    const others = placedOn(view, at) & ~(1 << copy);
    if (refPointer(view, at, copy) === 0) return false;
    if ((others & this.#host.inSync & ~(1 << copy)) === 0) {
      const block = this.#host.peek(holder, at);
      assert(block !== undefined, "a narrow block left memory before it was durable");
      this.#host.unseal(holder, at, block);
      this.stranded = true;
    }
    // The last pointer stays until there is another one: the block is known by it.
    if (others !== 0) this.clear(holder, at, copy);
    return true;
  }

  /** Gives a dirty narrow block other places than it has. In an operation; throws NoSpace or MISS, nothing was changed then. */
  placeAnew(holder: Block, at: number): void {
    const { view } = holder;
    assert(refIsDirty(view, at), "only a dirty block is placed anew");
    this.#host.touch(holder);
    const sizeKib = refSizeBytes(view, at) / 1024;
    this.#placing.allocate(sizeKib, placementOf(view, at));
    const before = cacheKeyOf(view, at);
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = refPointer(view, at, copy);
      if (kib !== 0) this.#host.freemap(copy).freeLater(kib, sizeKib);
    }
    this.#placing.point(view, at);
    this.#host.rekey(before, holder, at);
  }

  /** Clears all that a ref says of a copy that leaves: nothing is owed to it. True when that changed anything. */
  forget(holder: Block, at: number, copy: number): boolean {
    const cleared = this.clear(holder, at, copy);
    const missing = refMissing(holder.view, at);
    if ((missing & (1 << copy)) === 0) return cleared;
    this.#host.touch(holder);
    setRefMissing(holder.view, at, missing & ~(1 << copy));
    return true;
  }

  /** Enters a place that holds the block named there already, flushed (I8). */
  set(holder: Block, at: number, copy: number, kib: number): void {
    assert(refPointer(holder.view, at, copy) === 0, `copy ${copy} has a place for this block already`);
    this.#host.touch(holder);
    const before = cacheKeyOf(holder.view, at);
    setRefPointer(holder.view, at, copy, kib);
    setRefMissing(holder.view, at, refMissing(holder.view, at) & ~(1 << copy));
    this.#host.rekey(before, holder, at);
  }
}
