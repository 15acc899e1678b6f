// The verified block cache: blocks by their place on media, bounded in memory, evicted by second chance in order of
// arrival: a Map keeps that order, and an iterator stays where the last eviction stopped. (One that begins at the front each
// time walks over the places of all that was evicted there, which the Map keeps until it grows.) Dirty blocks, blocks being
// written and pinned ones stay.

import type { Block } from "./block.ts";
import type { BufferPool } from "./buffer-pool.ts";

/** Blocks looked at for one eviction at most: bounds the time of one miss, not what is evicted over several. */
const CHANCES_MAX = 1024;
/** An iterator at rest keeps alive every table that the Map has had since: another one is made after so many new blocks. */
const REST_MAX = 1024;

export class BlockCache {
  readonly #pool: BufferPool;
  readonly #blocks = new Map<number, Block>();
  #oldest = this.#blocks.values();
  /** Blocks added without an eviction since that iterator was made. */
  #addedAtRest = 0;
  #bytes = 0;

  /** Blocks are evicted while buffers taken from `pool`, also those being loaded, copied or written, are more than it should give. */
  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** Bytes of blocks. */
  get bytes(): number {
    return this.#bytes;
  }

  get(key: number): Block | undefined {
    const block = this.#blocks.get(key);
    if (block !== undefined) block.referenced = true;
    return block;
  }

  has(key: number): boolean {
    return this.#blocks.has(key);
  }

  /** True when `block` itself is what the cache has at its place. */
  holds(block: Block): boolean {
    return this.#blocks.get(block.cacheKey) === block;
  }

  /** Moves a block to another key: the first place it is named by changed. */
  rekey(from: number, to: number): void {
    if (from === to) return;
    const stale = this.#blocks.get(to);
    if (stale !== undefined) this.remove(stale);
    const block = this.#blocks.get(from);
    if (block === undefined) return;
    this.#blocks.delete(from);
    block.cacheKey = to;
    this.#blocks.set(to, block);
  }

  add(key: number, block: Block): void {
    const stale = this.#blocks.get(key);
    if (stale !== undefined) this.remove(stale);
    block.cacheKey = key;
    this.#blocks.set(key, block);
    this.#bytes += block.sizeBytes;
    if (this.#pool.isOverdrawn) this.#evict();
    else if (++this.#addedAtRest === REST_MAX) this.#rewind();
  }

  /** Takes a block out; its buffer stays with the caller, who calls `recycle` once nobody can need it. */
  remove(block: Block): void {
    if (this.#blocks.get(block.cacheKey) !== block) return;
    this.#blocks.delete(block.cacheKey);
    this.#bytes -= block.sizeBytes;
  }

  /** Gives the buffer of a removed block back, unless it is still being written or waited for. */
  recycle(block: Block): void {
    if (block.writing === 0 && block.pins === 0) this.#pool.give(block.buffer);
  }

  #evict(): void {
    let chances = Math.min(this.#blocks.size, CHANCES_MAX);
    while (this.#pool.isOverdrawn && chances-- > 0) {
      const block = this.#nextOldest();
      if (block === undefined) return;
      if (!block.dirty && block.writing === 0 && block.pins === 0 && !block.referenced) {
        this.remove(block);
        this.#pool.give(block.buffer);
        continue;
      }
      block.referenced = false;
      // Deleting and setting again moves it behind the newest.
      this.#blocks.delete(block.cacheKey);
      this.#blocks.set(block.cacheKey, block);
    }
  }

  #nextOldest(): Block | undefined {
    let next = this.#oldest.next();
    if (next.done === true) {
      // Whoever reached the end sees nothing of what comes after.
      this.#rewind();
      next = this.#oldest.next();
    }
    return next.done === true ? undefined : next.value;
  }

  #rewind(): void {
    this.#oldest = this.#blocks.values();
    this.#addedAtRest = 0;
  }
}
