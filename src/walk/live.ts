// The way down the live tree for visitors that change where blocks lie: a chain of positions from the root image, any of
// which can be made writable, which makes all above it writable first. Valid inside one run of a body only.

import { BLOCKREF_BYTES, refIsBare } from "../format/blockref.ts";
import type { Block } from "../tree/block.ts";
import { refRuns } from "../tree/runs.ts";
import type { BlockStore } from "../tree/store.ts";

export class LiveNode {
  readonly #store: BlockStore;
  readonly #parent: LiveNode | undefined;
  /** Byte of the ref in the parent's block that names this one. */
  readonly at: number;
  #block: Block;

  constructor(store: BlockStore, block: Block, parent?: LiveNode, at = 0) {
    this.#store = store;
    this.#block = block;
    this.#parent = parent;
    this.at = at;
  }

  get block(): Block {
    return this.#block;
  }

  /** The node of the block that the ref at byte `at` names. May throw MISS. */
  child(at: number): LiveNode {
    return new LiveNode(this.#store, this.#store.block(this.#block, at), this, at);
  }

  /** The block, writable; its content's age stays what it was. */
  writable(): Block {
    if (this.#parent !== undefined) this.#block = this.#store.relocate(this.#parent.writable(), this.at);
    return this.#block;
  }
}

/** Bytes of all refs with a block in the runs of `block`, in order. */
export function* blockRefs(block: Block): Generator<number> {
  for (const { at, refs } of refRuns(block)) {
    for (let ref = at; ref < at + refs * BLOCKREF_BYTES; ref += BLOCKREF_BYTES) {
      if (!refIsBare(block.view, ref)) yield ref;
    }
  }
}
