// What an operation sees of the volume: the block store and the PFS it works in. Nothing else may be changed by it.

import { ROOT_PFS_ID } from "../format/pfs.ts";
import { BLOCKSET_REFS } from "../format/blockref.ts";
import { addRootRoCompat, ROOT_SUPER_OFFSET, rootCopyCount, rootFeatures } from "../format/root-block.ts";
import type { Block } from "./block.ts";
import { CorruptBlockStructure } from "./miss.ts";
import type { BlockStore } from "./store.ts";
import { type Root, treeFind } from "./tree.ts";
import { treeEditBlock } from "./tree-edit.ts";

export class PfsState {
  readonly store: BlockStore;
  readonly #super: Root;

  /** `rootImage` is the in-memory root block, writable at all times. */
  constructor(store: BlockStore, rootImage: Block) {
    this.store = store;
    this.#super = { block: rootImage, at: ROOT_SUPER_OFFSET, refs: BLOCKSET_REFS };
  }

  /** Notes that from now on only programs that know these features (bits of RoCompat) may write to the volume. */
  requireToWrite(bits: number): void {
    const { block } = this.#super;
    if ((rootFeatures(block.view).roCompat & bits) === bits) return;
    this.store.touch(block);
    addRootRoCompat(block.view, bits);
  }

  /** How many copies the volume has. */
  get copyCount(): number {
    return rootCopyCount(this.#super.block.view);
  }

  /** The PFS block, to read. May throw MISS. */
  pfs(): Block {
    const position = treeFind(this.store, this.#super, ROOT_PFS_ID);
    if (position === undefined) throw new CorruptBlockStructure("the volume has no PFS named ROOT");
    return this.store.block(position.block, position.at);
  }

  /** The PFS block, writable. */
  editPfs(): Block {
    const block = treeEditBlock(this.store, this.#super, ROOT_PFS_ID);
    if (block === undefined) throw new CorruptBlockStructure("the volume has no PFS named ROOT");
    return block;
  }
}
