// The verified block cache: blocks by their place on media, bounded in memory, evicted by second chance in order of
// arrival: a Map keeps that order, and an iterator stays where the last eviction stopped. (One that begins at the front each
// time walks over the places of all that was evicted there, which the Map keeps until it grows.) Dirty blocks, blocks being
// written and pinned ones stay. Invariant: nothing is evicted but by `trim`, which whoever runs an operation calls at its end:
// until then every block that it has looked at is there, and no buffer of one becomes another's.

import type { Block } from "./block.ts";
import type { BufferPool } from "./buffer-pool.ts";

/** Blocks looked at for each new one at most: bounds the time of one operation, not what is evicted over several. */
const CHANCES_MAX = 1024;
/** An iterator at rest keeps alive every table that the Map has had since: another one is made after so many new blocks. */
const REST_MAX = 1024;

export class BlockCache {
  readonly #pool: BufferPool;
  readonly #blocks = new Map<number, Block>();
  #oldest = this.#blocks.values();
  /** Blocks added since the last `trim`. */
  #added = 0;
  /** Blocks added without an eviction since that iterator was made. */
  #addedAtRest = 0;
  #bytes = 0;

  /** `trim` evicts while buffers taken from `pool`, also those being loaded, copied or written, are more than it should give. */
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
    this.#dropStale(to);
    const block = this.#blocks.get(from);
    if (block === undefined) return;
    this.#blocks.delete(from);
    block.cacheKey = to;
    this.#blocks.set(to, block);
  }

  add(key: number, block: Block): void {
    this.#dropStale(key);
    block.cacheKey = key;
    this.#blocks.set(key, block);
    this.#bytes += block.sizeBytes;
    this.#added++;
  }

  /** What was loaded from a place after it was freed: no ref names it, so nobody looks at it. */
  #dropStale(key: number): void {
    const stale = this.#blocks.get(key);
    if (stale === undefined) return;
    this.remove(stale);
    this.recycle(stale);
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

  /** Evicts, where memory is short, to make up for what was added since this was called last. Nobody may hold a block that could go. */
  trim(): void {
    const added = this.#added;
    this.#added = 0;
    if (this.#pool.isOverdrawn) return this.#evict(Math.min(this.#blocks.size, added * CHANCES_MAX));
    this.#addedAtRest += added;
    if (this.#addedAtRest >= REST_MAX) this.#rewind();
  }

  #evict(chances: number): void {
    for (; this.#pool.isOverdrawn && chances > 0; chances--) {
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
