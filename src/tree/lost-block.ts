// Stands for a block that no copy could give, among the blocks pinned by those who asked for it: they are told why when they
// run again. It goes with the last of them, so that whoever comes later has it read again.

import { Block } from "./block.ts";

const NOTHING = new ArrayBuffer(0);
const NO_BYTES = { bytes: new Uint8Array(NOTHING), view: new DataView(NOTHING) };

export class LostBlock extends Block {
  readonly error: Error;

  constructor(type: number, cacheKey: number, error: Error) {
    super(type, NO_BYTES);
    this.cacheKey = cacheKey;
    this.error = error;
  }
}
