// Commits: one transaction group becoming durable. Order (I2): seal; blocks to all copies; flush all; root to all; flush
// all; only then whoever waits is answered and deferred frees are let go (I3). One commit runs at a time; operations go
// on in the next transaction meanwhile, and everybody who asks for durability during a commit shares the next one.
// A write or flush that fails on any copy ends all this: the volume turns read-only and nothing is acknowledged.

import { assert } from "../base/assert.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { rootSequence, setRootCounters, setRootSequence } from "../format/root-block.ts";
import type { Block } from "../tree/block.ts";
import { MISS } from "../tree/miss.ts";
import type { BlockStore, PendingWrite } from "../tree/store.ts";
import { fillLeaves, relocateLeaves } from "./freemap-trees.ts";
import { sealAll } from "./seal.ts";

/** Writes a sealed root image to the next slot of every copy's ring, not yet flushed. Implemented by src/copies. */
export interface RootWriter {
  write(image: Uint8Array): Promise<void>;
}

/** Most bytes handed to the copies in one call of a commit. */
const BATCH_BYTES = 4 * 1024 * 1024;

export class Committer {
  readonly #store: BlockStore;
  readonly #copies: CopySet;
  readonly #roots: RootWriter;
  readonly #rootImage: Block;
  readonly #early = new Set<Promise<void>>();
  #earlyBytes = 0;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  /** Something completed since the last seal. */
  #changed = false;
  #failure: Error | undefined;
  readonly #onFailure: (error: Error) => void;

  constructor(
    store: BlockStore,
    copies: CopySet,
    roots: RootWriter,
    rootImage: Block,
    onFailure: (error: Error) => void,
  ) {
    this.#store = store;
    this.#copies = copies;
    this.#roots = roots;
    this.#rootImage = rootImage;
    this.#onFailure = onFailure;
    store.onEarlyWrites((writes) => this.#writeEarly(writes));
  }

  /** Says that an operation was completed in the open transaction. */
  noteChange(): void {
    this.#changed = true;
  }

  get hasChanges(): boolean {
    return this.#changed;
  }

  get isRunning(): boolean {
    return this.#running !== undefined;
  }

  /** Bytes of data on their way to the copies ahead of the commit. */
  get earlyBytes(): number {
    return this.#earlyBytes;
  }

  #writeEarly(writes: PendingWrite[]): void {
    let bytes = 0;
    for (const write of writes) bytes += write.bytes.length;
    this.#earlyBytes += bytes;
    const done: Promise<void> = this.#copies
      .writeBlocks(writes)
      .catch((error: unknown) => void this.#fail(error))
      .finally(() => {
        this.#earlyBytes -= bytes;
        this.#store.written(writes);
        this.#early.delete(done);
      });
    this.#early.add(done);
  }

  /** Resolves when one of the early writes now under way is over. */
  async someEarlyWrite(): Promise<void> {
    if (this.#early.size > 0) await Promise.race(this.#early);
  }

  /** Everything completed before this call is durable on all copies when it resolves; rejects when it can't be. */
  barrier(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#next !== undefined) return this.#next;
    if (this.#running === undefined) return this.#changed ? this.#start() : Promise.resolve();
    if (!this.#changed) return this.#running;
    return (this.#next = this.#running.then(
      () => this.#startNext(),
      () => this.#startNext(),
    ));
  }

  /** A commit even if nothing changed: it moves the ring on, which lets deferred frees go. */
  async force(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    if (this.#failure !== undefined) throw this.#failure;
    await this.#start();
  }

  #startNext(): Promise<void> {
    this.#next = undefined;
    if (this.#failure !== undefined) throw this.#failure;
    return this.#start();
  }

  #start(): Promise<void> {
    assert(this.#running === undefined, "two commits at a time");
    const running = this.#commit().then(
      () => {
        this.#running = undefined;
      },
      (error: unknown) => {
        this.#running = undefined;
        throw this.#fail(error);
      },
    );
    this.#running = running;
    return running;
  }

  async #commit(): Promise<void> {
    const store = this.#store;
    const pinned: Block[] = [];
    try {
      while (!this.#relocated()) await store.load(pinned);
    } finally {
      store.unpin(pinned);
    }
    // From here to the end of the seal nothing else runs.
    this.#changed = false;
    fillLeaves(store, this.#rootImage);
    const writes = sealAll(store, this.#rootImage);
    const tid = store.tid;
    assert(tid > rootSequence(this.#rootImage.view), "a transaction id does not rise");
    setRootSequence(this.#rootImage.view, tid);
    for (const copy of this.#copies.copies) {
      setRootCounters(this.#rootImage.view, copy.index, { ...copy.errors, repaired: copy.repaired });
    }
    const image = this.#rootImage.bytes.slice();
    store.tid = tid + 1;
    const early = [...this.#early];
    await Promise.all([this.#write(writes), ...early]);
    if (this.#failure !== undefined) throw this.#failure;
    await this.#copies.flush();
    await this.#roots.write(image);
    await this.#copies.flush();
    // A read or repair begun before some block was freed must be over before its place can be used again.
    await store.readsSettled();
    for (const freemap of store.freemaps) freemap?.rootDurable(tid);
  }

  #relocated(): boolean {
    try {
      relocateLeaves(this.#store, this.#rootImage);
      return true;
    } catch (error) {
      if (error === MISS) return false;
      throw error;
    }
  }

  async #write(writes: PendingWrite[]): Promise<void> {
    try {
      for (let at = 0; at < writes.length; ) {
        const batch: PendingWrite[] = [];
        for (let bytes = 0; at < writes.length && bytes < BATCH_BYTES; at++) {
          const write = writes[at] as PendingWrite;
          batch.push(write);
          bytes += write.bytes.length;
        }
        await this.#copies.writeBlocks(batch);
      }
    } finally {
      this.#store.written(writes);
    }
  }

  #fail(cause: unknown): Error {
    if (this.#failure === undefined) {
      this.#failure = cause instanceof Error ? cause : new Error(String(cause));
      this.#onFailure(this.#failure);
    }
    return this.#failure;
  }
}
