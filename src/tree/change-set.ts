// What one operation changed, so that it can be undone as if it had never run: pre-images of the blocks it touched,
// the blocks it made or displaced, the places it allocated. An operation that meets a missing block or an error in the
// middle is rolled back from here; one that runs to its end just drops it.

import { objectList } from "../base/object-list.ts";
import type { Block } from "./block.ts";
import type { BlockBuffer, BufferPool } from "./buffer-pool.ts";

interface PreImage {
  readonly block: Block;
  readonly saved: BlockBuffer;
  readonly usedBytes: number;
  readonly count: number;
  readonly dirty: boolean;
}

export interface Allocation {
  readonly copy: number;
  readonly kib: number;
  readonly sizeKib: number;
}

export interface Displaced {
  readonly block: Block;
  readonly wasDirty: boolean;
  readonly wasCached: boolean;
}

export class ChangeSet {
  readonly #pool: BufferPool;
  readonly #preImages: PreImage[] = objectList();
  /** Blocks that came into the cache. */
  readonly created: Block[] = objectList();
  /** Blocks that no ref names any more; they left the cache, unless it knew another block by their place. */
  readonly displaced: Displaced[] = objectList();
  /** Blocks that got another key in the cache, because the first place they are named by changed. */
  readonly rekeyed: { readonly from: number; readonly to: number }[] = objectList();
  readonly allocated: Allocation[] = objectList();
  /** Places that were set aside for blocks on media already, which refs name now. */
  readonly adopted: Allocation[] = objectList();
  /** Allocations of the open transaction given up again; taken back to the bitmap only when the operation stands. */
  readonly freedNow: Allocation[] = objectList();

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** Saves the first `usedBytes` of a block about to be changed; the rest of it is zero, before and after a rollback. */
  save(block: Block, usedBytes: number): void {
    const saved = this.#pool.take(block.sizeBytes);
    saved.bytes.set(usedBytes === block.sizeBytes ? block.bytes : block.bytes.subarray(0, usedBytes));
    this.#preImages.push({ block, saved, usedBytes, count: block.count, dirty: block.dirty });
  }

  restore(): void {
    for (const { block, saved, usedBytes, count, dirty } of this.#preImages) {
      block.bytes.set(saved.bytes.subarray(0, usedBytes));
      if (usedBytes < block.sizeBytes) block.bytes.fill(0, usedBytes);
      block.count = count;
      block.dirty = dirty;
    }
  }

  clear(): void {
    for (const { saved } of this.#preImages) this.#pool.give(saved);
    this.#preImages.length = 0;
    this.created.length = 0;
    this.displaced.length = 0;
    this.rekeyed.length = 0;
    this.allocated.length = 0;
    this.adopted.length = 0;
    this.freedNow.length = 0;
  }
}
