// Blocks read into memory, for synchronous code: what is here is returned, what is not is queued and MISS thrown, and the
// engine calls `load` before it tries again. Only what was verified (I5) and holds to the rules of its type (I12) gets here,
// and nobody gets it but by the ref that it was verified with.

import { ROOT_SUPER_OFFSET } from "../format/root-block.ts";
import { type Block, itemTypeAt } from "./block.ts";
import { BufferPool } from "./buffer-pool.ts";
import { BlockCache } from "./cache.ts";
import { type BlockSource, Loader, cacheKeyOf } from "./loader.ts";
import { LostBlock } from "./lost-block.ts";
import { MISS } from "./miss.ts";
import { isLostOf, isNamedBy } from "./named-by.ts";
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
  /**
   * By key, newest first: what somebody waits with and the cache has not: blocks that no copy could give, and those whose place
   * the cache knows another block by, since two refs name it.
   */
  readonly #aside = new Map<number, Block[]>();
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
    if (block !== undefined && isNamedBy(block, holder, at)) return block;
    const aside = this.#asideOf(key, holder, at);
    if (aside instanceof LostBlock) throw aside.error;
    if (aside !== undefined) return aside;
    this.loader.queue(key, holder, at, itemTypeAt(holder, at, ROOT_SUPER_OFFSET), true);
    return undefined;
  }

  /** The block named there if it is in memory. */
  peek(holder: Block, at: number): Block | undefined {
    const key = cacheKeyOf(holder.view, at);
    const block = this.cache.get(key);
    if (block !== undefined && isNamedBy(block, holder, at)) return block;
    const aside = this.#asideOf(key, holder, at);
    return aside instanceof LostBlock ? undefined : aside;
  }

  /** Queues a block that will be wanted soon. */
  prefetch(holder: Block, at: number): void {
    const key = cacheKeyOf(holder.view, at);
    if (!this.cache.has(key)) this.loader.queue(key, holder, at, itemTypeAt(holder, at, ROOT_SUPER_OFFSET), false);
  }

  /** Blocks met since opening that no copy has good bytes of. */
  get lostCount(): number {
    return this.loader.lostCount;
  }

  /** No copy has good bytes of the block named there, as a scrub found. */
  noteLost(holder: Block, at: number): void {
    this.loader.noteLost(holder.view, at);
  }

  /** Those met so far are forgotten, until they are met again. */
  clearLost(): void {
    this.loader.clearLost();
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
    const pin = (block: Block): void => {
      block.pins++;
      pinned.push(block);
    };
    await this.loader.load(
      (block) => {
        pin(block);
        // Meanwhile an operation may have freed the block; nobody will ask for its place, and it is evicted in time.
        if (this.cache.has(block.cacheKey)) return this.#setAside(block);
        this.cache.add(block.cacheKey, block);
        this.cache.trim();
      },
      (block) => {
        pin(block);
        this.#setAside(block);
      },
    );
  }

  /** Another block has the place that this is the key of, or none has: what is known of the one before counts no more. */
  protected forget(key: number): void {
    if (this.#aside.size > 0) this.#aside.delete(key);
    this.loader.forget(key);
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
      if (--block.pins > 0) continue;
      if (this.#aside.size > 0) this.#forgetAside(block);
      if (block instanceof LostBlock) continue;
      // Displaced or aside while it was pinned: nobody else will give its buffer back.
      if (!this.cache.holds(block)) this.cache.recycle(block);
    }
    pinned.length = 0;
  }

  #asideOf(key: number, holder: Block, at: number): Block | undefined {
    if (this.#aside.size === 0) return undefined;
    return this.#aside
      .get(key)
      ?.find((block) => (block instanceof LostBlock ? isLostOf(block, holder, at) : isNamedBy(block, holder, at)));
  }

  #setAside(block: Block): void {
    const aside = this.#aside.get(block.cacheKey);
    if (aside === undefined) this.#aside.set(block.cacheKey, [block]);
    else if (!aside.includes(block)) aside.unshift(block);
  }

  #forgetAside(block: Block): void {
    const left = this.#aside.get(block.cacheKey)?.filter((other) => other !== block);
    if (left?.length === 0) this.#aside.delete(block.cacheKey);
    else if (left !== undefined) this.#aside.set(block.cacheKey, left);
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
