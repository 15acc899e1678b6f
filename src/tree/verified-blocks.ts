// Blocks read into memory, for synchronous code: what is here is returned, what is not is queued and MISS thrown, and the
// engine calls `load` before it tries again. Only what was verified (I5) and holds to the rules of its type (I12) gets here.

import { ROOT_SUPER_OFFSET } from "../format/root-block.ts";
import { type Block, itemTypeAt } from "./block.ts";
import { BufferPool } from "./buffer-pool.ts";
import { BlockCache } from "./cache.ts";
import { type BlockSource, Loader, cacheKeyOf } from "./loader.ts";
import { MISS } from "./miss.ts";
import type { BlockRules } from "./validate.ts";

export interface VerifiedBlocksOptions {
  readonly source: BlockSource;
  readonly rules: BlockRules;
  readonly cacheBytes: number;
}

/** Part of the memory that is lost between blocks. */
const LOST_PART = 1 / 6;

export class VerifiedBlocks {
  readonly rules: BlockRules;
  readonly pool: BufferPool;
  protected readonly cache: BlockCache;
  protected readonly loader: Loader;
  readonly #wantedLeaves: (() => void)[] = [];

  constructor({ source, rules, cacheBytes }: VerifiedBlocksOptions) {
    this.rules = rules;
    this.pool = new BufferPool(cacheBytes * (1 - LOST_PART));
    this.cache = new BlockCache(this.pool);
    this.loader = new Loader(source, rules, this.pool);
  }

  get cachedBytes(): number {
    return this.cache.bytes;
  }

  /** The block named by the ref at byte `at` of `holder`. Throws MISS, or why no copy has it. */
  block(holder: Block, at: number): Block {
    const found = this.want(holder, at);
    if (found === undefined) throw MISS;
    return found;
  }

  /** As `block`, but undefined instead of MISS, so that several can be asked for before giving up. */
  want(holder: Block, at: number): Block | undefined {
    const key = cacheKeyOf(holder.view, at);
    const block = this.cache.get(key);
    if (block !== undefined) return block;
    const failure = this.loader.takeFailure(key);
    if (failure !== undefined) throw failure;
    this.loader.queue(key, holder, at, itemTypeAt(holder, at, ROOT_SUPER_OFFSET));
    return undefined;
  }

  /** The block named there if it is in memory. */
  peek(holder: Block, at: number): Block | undefined {
    return this.cache.get(cacheKeyOf(holder.view, at));
  }

  /** Queues a block that will be wanted soon. */
  prefetch(holder: Block, at: number): void {
    const key = cacheKeyOf(holder.view, at);
    if (!this.cache.has(key)) this.loader.queue(key, holder, at, itemTypeAt(holder, at, ROOT_SUPER_OFFSET));
  }

  /** Blocks met since opening that no copy has good bytes of. */
  get lostCount(): number {
    return this.loader.lostCount;
  }

  get hasQueuedLoads(): boolean {
    return this.loader.hasQueued;
  }

  /**
   * Notes that a bitmap leaf is needed that is not in memory; it is brought in by `load`. Never by the operation that needs
   * it: the tree it would be looked up in may be the very one that operation is changing.
   */
  wantLeaf(bringIn: () => void): void {
    this.#wantedLeaves.push(bringIn);
  }

  /** Loads what is queued; the blocks that arrive are pinned and added to `pinned`. */
  async load(pinned: Block[]): Promise<void> {
    await this.#loadQueued(pinned);
    for (const bringIn of this.#wantedLeaves.splice(0)) {
      for (;;) {
        try {
          bringIn();
          break;
        } catch (error) {
          if (error !== MISS) throw error;
        }
        await this.#loadQueued(pinned);
      }
    }
  }

  async #loadQueued(pinned: Block[]): Promise<void> {
    await this.loader.load((block) => {
      block.pins++;
      pinned.push(block);
      // Meanwhile an operation may have freed the block; nobody will ask for its place, and it is evicted in time.
      if (!this.cache.has(block.cacheKey)) this.cache.add(block.cacheKey, block);
    });
  }

  /** Runs `body` again and again until nothing that it needs is missing. */
  async untilLoaded<T>(body: () => T): Promise<T> {
    const pinned: Block[] = [];
    try {
      for (;;) {
        try {
          return body();
        } catch (error) {
          if (error !== MISS) throw error;
        }
        await this.load(pinned);
      }
    } finally {
      this.unpin(pinned);
    }
  }

  unpin(pinned: Block[]): void {
    for (const block of pinned) {
      block.pins--;
      // Displaced while it was pinned: nobody else will give its buffer back.
      if (block.pins === 0 && !this.cache.holds(block)) this.cache.recycle(block);
    }
    pinned.length = 0;
  }

  /** The places of blocks in the live tree are not used again before `work`, begun just now, is over. */
  holdPlaces(work: Promise<unknown>): void {
    this.loader.hold(work);
  }

  /** Resolves when no read or repair begun before is under way. */
  readsSettled(): Promise<void> {
    return this.loader.settled();
  }
}
