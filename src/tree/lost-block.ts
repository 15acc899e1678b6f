// Stands for a block that no copy could give, among the blocks pinned by those who asked for it: they are told why when they
// run again. It goes with the last of them, so that whoever comes later has it read again.

import { Block } from "./block.ts";
import { noteSame } from "./named-by.ts";

const NOTHING = new ArrayBuffer(0);
const NO_BYTES = { bytes: new Uint8Array(NOTHING), view: new DataView(NOTHING) };

export class LostBlock extends Block {
  /** Key of the ref that names it. */
  readonly key: number;
  readonly error: Error;

  /** Stands for `block`. */
  constructor(block: Block, key: number, error: Error) {
    super(block.type, NO_BYTES);
    this.itemType = block.itemType;
    this.cacheKey = block.cacheKey;
    noteSame(this, block);
    this.key = key;
    this.error = error;
  }
}
