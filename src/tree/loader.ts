// Brings missing blocks into memory. Synchronous code queues what it lacks and throws MISS; the engine then calls
// `load`, which reads everything queued in one go, verifies it (I5) and holds it to the rules of its type (I12).
// Requests for a block that is already on its way share one read. Nobody waits for the reads of others, and blocks that do not
// lie on the same copies are read by themselves: one that no copy can give now holds up none that others can (I9).
// Where two refs name one place, whoever wants the second waits for the read of the first, finds that it is not his, and asks again.

import { FsError } from "../base/errno.ts";
import { asError } from "../base/thrown.ts";
import {
  BLOCKREF_BYTES,
  BLOCKSET_BYTES,
  REF_CHECK_OFFSET,
  RefType,
  firstPointerCopy,
  refCheckWord,
  refCheckType,
  refKey,
  refLevel,
  refPointer,
  refSizeBytes,
  refType,
} from "../format/blockref.ts";
import { CHECK_BYTES_MAX } from "../format/check.ts";
import type { BlockRead } from "../copies/copy-set.ts";
import { UnreadableError } from "../copies/errors.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { Block, ROOT_IMAGE } from "./block.ts";
import type { BufferPool } from "./buffer-pool.ts";
import { LostBlock } from "./lost-block.ts";
import { noteRef, noteSame } from "./named-by.ts";
import type { BlockExpectation, BlockRules } from "./validate.ts";

/** Reads and verifies; `error` is set on those that no copy could give. Implemented by src/copies. */
export interface BlockSource {
  readBlocks(requests: readonly BlockRead[]): Promise<void>;
}

interface Load {
  readonly key: number;
  block: Block;
  readonly read: BlockRead;
  readonly expected: BlockExpectation;
  readonly name: string;
  /** Bit per copy that has a place for it. */
  readonly placedOn: number;
  /** Resolves when its read, once begun, is over. */
  done: Promise<void>;
  /** How it ended, when no copy could give it. */
  lost: LostBlock | undefined;
}

const NOT_BEGUN = Promise.resolve();

/** Cache key of the block named by the ref at `at`: its first pointer and the copy it is on. */
export function cacheKeyOf(view: DataView, at: number): number {
  const copy = firstPointerCopy(view, at);
  return refPointer(view, at, copy) * COPIES_MAX + copy;
}

export class Loader {
  readonly #source: BlockSource;
  readonly #rules: BlockRules;
  readonly #pool: BufferPool;
  readonly #queue = new Map<number, Load>();
  readonly #underWay = new Map<number, Load>();
  /** Those under way that were wanted since the last `load`. */
  readonly #awaited: Load[] = [];
  /** Blocks that no copy could give when they were last read: the beginning of their check codes, by key. */
  readonly #lost = new Map<number, number>();
  readonly #held = new Set<Promise<void>>();

  constructor(source: BlockSource, rules: BlockRules, pool: BufferPool) {
    this.#source = source;
    this.#rules = rules;
    this.#pool = pool;
  }

  /** True when something waits for `load`. */
  get hasQueued(): boolean {
    return this.#queue.size > 0 || this.#awaited.length > 0;
  }

  /** Blocks that no copy could give when they were last read. */
  get lostCount(): number {
    return this.#lost.size;
  }

  /** No copy could give the block named by the ref at `at`, as somebody found who reads past this. */
  noteLost(view: DataView, at: number): void {
    this.#lost.set(cacheKeyOf(view, at), refCheckWord(view, at, 0));
  }

  /** Counts them anew from 0: those that are still lost are found so by the next who reads them. */
  clearLost(): void {
    this.#lost.clear();
  }

  /** True while a read of this block is on its way. */
  isUnderWay(key: number): boolean {
    return this.#underWay.has(key);
  }

  /** Counts work on blocks in place among the reads that `settled` waits for. */
  hold(work: Promise<unknown>): void {
    const done: Promise<void> = work.then(
      () => void this.#held.delete(done),
      () => void this.#held.delete(done),
    );
    this.#held.add(done);
  }

  /** Resolves when all reads now on their way are over, repairs they led to included. */
  async settled(): Promise<void> {
    await Promise.allSettled([...[...this.#underWay.values()].map(({ done }) => done), ...this.#held]);
  }

  /** No ref names the block of this key any more, or another block has its place. */
  forget(key: number): void {
    if (this.#lost.size > 0) this.#lost.delete(key);
    if (this.#queue.size === 0) return;
    const load = this.#queue.get(key);
    if (load === undefined) return;
    this.#queue.delete(key);
    this.#pool.give(load.block.buffer);
  }

  /** Queues the block named by the ref at byte `at` of `holder`. `wanted`: who asks waits for it, even if it is on its way already. */
  queue(key: number, holder: Block, at: number, itemType: number, wanted: boolean): void {
    const known = this.#underWay.get(key);
    if (known !== undefined && wanted) this.#awaited.push(known);
    if (known !== undefined || this.#queue.has(key)) return;
    const view = holder.view;
    const pointers: number[] = [];
    let placedOn = 0;
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = refPointer(view, at, copy);
      pointers.push(kib);
      if (kib !== 0) placedOn |= 1 << copy;
    }
    const type = refType(view, at);
    const sizeBytes = refSizeBytes(view, at);
    const block = new Block(type, this.#pool.take(sizeBytes));
    block.itemType = itemType;
    block.cacheKey = key;
    noteRef(block, view, at);
    this.#queue.set(key, {
      key,
      block,
      read: {
        pointers,
        checkType: refCheckType(view, at),
        check: holder.bytes.slice(at + REF_CHECK_OFFSET, at + REF_CHECK_OFFSET + CHECK_BYTES_MAX),
        target: block.bytes,
        metadata: type !== RefType.DATA,
      },
      expected: {
        type,
        sizeBytes,
        key: refKey(view, at),
        level: refLevel(view, at),
        itemType,
        keyEnd: keyEndOf(holder, at),
      },
      name: `block of type ${type}, key ${refKey(view, at)}`,
      placedOn,
      done: NOT_BEGUN,
      lost: undefined,
    });
  }

  /**
   * Reads everything queued, and waits for what was wanted and on its way already. Good blocks that were queued go to `arrived`,
   * what no copy could give to `lost`.
   */
  async load(arrived: (block: Block) => void, lost: (block: LostBlock) => void): Promise<void> {
    const awaited = this.#awaited.splice(0);
    const reads = awaited.map(({ done }) => done);
    for (const loads of this.#takeQueue()) {
      for (const load of loads) this.#underWay.set(load.key, load);
      const done = this.#read(loads, arrived, lost);
      for (const load of loads) load.done = done;
      reads.push(done);
    }
    await Promise.all(reads);
    for (const load of awaited) if (load.lost !== undefined) lost(load.lost);
  }

  /** What is queued, by the copies it lies on. */
  #takeQueue(): Iterable<readonly Load[]> {
    const byCopies = new Map<number, Load[]>();
    for (const load of this.#queue.values()) {
      const alike = byCopies.get(load.placedOn);
      if (alike === undefined) byCopies.set(load.placedOn, [load]);
      else alike.push(load);
    }
    this.#queue.clear();
    return byCopies.values();
  }

  async #read(
    loads: readonly Load[],
    arrived: (block: Block) => void,
    lost: (block: LostBlock) => void,
  ): Promise<void> {
    try {
      await this.#source.readBlocks(loads.map((load) => load.read));
    } catch (error) {
      for (const { block } of loads) this.#pool.writeOff(block);
      throw error;
    } finally {
      for (const load of loads) this.#underWay.delete(load.key);
    }
    for (const load of loads) {
      if (load.read.target !== load.block.bytes) load.block = blockOver(load.read.target, load.block);
      const error = load.read.error ?? this.#broken(load);
      if (error === undefined) {
        if (this.#lost.get(load.key) === load.block.checkLow) this.#lost.delete(load.key);
        arrived(load.block);
      } else {
        // A read that was given up may still be on its way into it.
        this.#pool.writeOff(load.block);
        this.#lost.set(load.key, load.block.checkLow);
        const message = `${load.name}: ${error.message}`;
        // What breaks the rules is what its parent remembers, and the same on every copy.
        const loss = load.read.error === undefined ? new FsError("EIO", message) : new UnreadableError(message);
        load.lost = new LostBlock(load.block, load.expected.key, loss);
        lost(load.lost);
      }
    }
  }

  #broken(load: Load): Error | undefined {
    try {
      load.block.count = this.#rules.content(load.block.bytes, load.block.view, load.expected);
      return undefined;
    } catch (error) {
      return asError(error);
    }
  }
}

/**
 * The block in the buffer it was read into after another copy had to be asked (I9). The first buffer goes to the collector,
 * not to the pool: the read that holds it is not over.
 */
function blockOver(bytes: Uint8Array, abandoned: Block): Block {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const block = new Block(abandoned.type, { bytes, view });
  block.itemType = abandoned.itemType;
  block.cacheKey = abandoned.cacheKey;
  noteSame(block, abandoned);
  return block;
}

/** First key that may not be below the ref at `at`: its right neighbour's in the same run, if there is one. */
function keyEndOf(holder: Block, at: number): number {
  const next = at + BLOCKREF_BYTES;
  const runEnds = holder.type === RefType.INDIRECT ? next === holder.bytes.length : next % BLOCKSET_BYTES === 0;
  if (refLevel(holder.view, at) === 0 || runEnds || holder.type === ROOT_IMAGE) return Number.MAX_SAFE_INTEGER;
  if (refType(holder.view, next) === RefType.EMPTY) return Number.MAX_SAFE_INTEGER;
  return refKey(holder.view, next);
}
