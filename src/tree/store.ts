// Blocks in memory over a verified cache, changed by copy-on-write inside one open transaction. All synchronous: a
// block that is not here is queued and MISS thrown. A changed block has its new place at once, on every copy, so an
// allocation that fails does so in the operation that needs it (I10) and a commit allocates for the bitmaps only.
// Keeps I1/I2 with src/volume: a place named by any root or written under way is never given out again early (I3).

import { assert } from "../base/assert.ts";
import {
  BLOCKREF_BYTES,
  RefFlag,
  RefType,
  refFlags,
  refIsDirty,
  refKey,
  refLevel,
  refMirrorTid,
  refMissing,
  refModifyTid,
  refPointer,
  refSizeBytes,
  refType,
  refUnplaced,
  setRefFlags,
  setRefHead,
  setRefMirrorTid,
  setRefMissing,
  setRefModifyTid,
  setRefPointer,
  setRefSizeBits,
} from "../format/blockref.ts";
import { CHECK_BYTES_MAX, type CheckType, writeCheck } from "../format/check.ts";
import { REF_CHECK_OFFSET } from "../format/blockref.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { ROOT_SUPER_OFFSET } from "../format/root-block.ts";
import { Claim, type Freemap } from "../freemap/freemap.ts";
import { Block, itemTypeAt } from "./block.ts";
import { BufferPool } from "./buffer-pool.ts";
import { BlockCache } from "./cache.ts";
import { ChangeSet } from "./change-set.ts";
import type { EarlyBlock } from "./early-block.ts";
import { type BlockSource, Loader, cacheKeyOf } from "./loader.ts";
import { MISS } from "./miss.ts";
import { isNarrow, type Placement, placedOn, placementOf } from "./narrow.ts";
import { Placing } from "./placing.ts";
import type { BlockRules } from "./validate.ts";

/** A block on its way to media: where on each copy, and the bytes, which do not change until it is there. */
export interface PendingWrite {
  readonly pointers: readonly number[];
  readonly bytes: Uint8Array;
  readonly block: Block;
}

export type { EarlyBlock } from "./early-block.ts";

export interface BlockStoreOptions {
  readonly source: BlockSource;
  readonly rules: BlockRules;
  readonly checkType: CheckType;
  readonly cacheBytes: number;
}

/** Part of the memory that is lost between blocks. */
const LOST_PART = 1 / 8;

export class BlockStore {
  readonly checkType: CheckType;
  readonly rules: BlockRules;
  readonly pool: BufferPool;
  /** Allocators of all copies the volume has, present or not, by copy index. */
  readonly freemaps: (Freemap | undefined)[] = [];
  /** Bit per copy that new blocks go to. */
  targets = 0;
  /** Those of them that must have room for every block; the others go without when they are full. */
  required = 0;
  /** Bit per copy in sync and at hand: a narrow block lies on one of these at least. */
  inSync = 0;
  /** Narrow blocks of the open transaction were left without a copy in sync; they are placed anew before it is sealed. */
  stranded = false;
  /** Bit per copy that may be owed blocks: what is sealed says so (I8). */
  owing = 0;
  /** Bit per copy that had no room for a block it should have got. */
  full = 0;
  /** The open transaction; its root's sequence. */
  tid = 1;
  /** How deep the operation at hand may dip into the reserve. */
  claim: Claim = Claim.ORDINARY;
  readonly #cache: BlockCache;
  readonly #loader: Loader;
  readonly #changes: ChangeSet;
  #serial = 1;
  #open = false;
  /** The transaction in which cache keys changed: reads under way under old keys can't be told any more. */
  #rekeyedIn = 0;
  readonly #pendingCounts: number[] = [];
  #dirtyBytes = 0;
  readonly #wantedLeaves: (() => void)[] = [];
  readonly #placing: Placing;
  /** True while operations are logged: records name early blocks, so those are freed like what a root names (I3). */
  logged = false;
  /** False while nothing may be written: finished blocks then wait, dirty, like all others. */
  writesEarly = true;
  /** Whole data windows that the last operation wrote early, for its record. */
  earlyBlocks: EarlyBlock[] = [];
  /** While a record is replayed: blocks it names that are on media already, by key. Each is taken out when adopted. */
  readonly adoptable = new Map<number, EarlyBlock>();
  /** Full blocks written in this operation, submitted when it stands. */
  #early: PendingWrite[] = [];
  #submit: (writes: PendingWrite[]) => void = () => undefined;

  constructor(options: BlockStoreOptions) {
    this.checkType = options.checkType;
    this.rules = options.rules;
    this.pool = new BufferPool(options.cacheBytes * (1 - LOST_PART));
    this.#cache = new BlockCache(this.pool);
    this.#loader = new Loader(options.source, options.rules, this.pool);
    this.#changes = new ChangeSet(this.pool);
    this.#placing = new Placing(this, this.#changes);
  }

  /** Where early writes go, in batches of one operation. */
  onEarlyWrites(submit: (writes: PendingWrite[]) => void): void {
    this.#submit = submit;
  }

  /** Bytes of blocks changed in the open transaction and not written yet. */
  get dirtyBytes(): number {
    return this.#dirtyBytes;
  }

  get cachedBytes(): number {
    return this.#cache.bytes;
  }

  // ---- reading

  /** The block named by the ref at byte `at` of `holder`. Throws MISS, or why no copy has it. */
  block(holder: Block, at: number): Block {
    const found = this.want(holder, at);
    if (found === undefined) throw MISS;
    return found;
  }

  /** As `block`, but undefined instead of MISS, so that several can be asked for before giving up. */
  want(holder: Block, at: number): Block | undefined {
    const key = cacheKeyOf(holder.view, at);
    const block = this.#cache.get(key);
    if (block !== undefined) return block;
    const failure = this.#loader.takeFailure(key);
    if (failure !== undefined) throw failure;
    this.#loader.queue(key, holder, at, itemTypeAt(holder, at, ROOT_SUPER_OFFSET));
    return undefined;
  }

  /** The block named there if it is in memory. */
  peek(holder: Block, at: number): Block | undefined {
    return this.#cache.get(cacheKeyOf(holder.view, at));
  }

  /** Queues a block that will be wanted soon. */
  prefetch(holder: Block, at: number): void {
    const key = cacheKeyOf(holder.view, at);
    if (!this.#cache.has(key)) this.#loader.queue(key, holder, at, itemTypeAt(holder, at, ROOT_SUPER_OFFSET));
  }

  /** Blocks met since opening that no copy has good bytes of. */
  get lostCount(): number {
    return this.#loader.lostCount;
  }

  get hasQueuedLoads(): boolean {
    return this.#loader.hasQueued;
  }

  /** True inside an operation, when a tree may be half changed. */
  get inOperation(): boolean {
    return this.#open;
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
    await this.#loader.load((block) => {
      block.pins++;
      pinned.push(block);
      // Meanwhile an operation may have freed the block; nobody will ask for its place, and it is evicted in time.
      if (!this.#cache.has(block.cacheKey)) this.#cache.add(block.cacheKey, block);
    });
  }

  unpin(pinned: Block[]): void {
    for (const block of pinned) {
      block.pins--;
      // Displaced while it was pinned: nobody else will give its buffer back.
      if (block.pins === 0 && !this.#cache.holds(block)) this.#cache.recycle(block);
    }
    pinned.length = 0;
  }

  /** The places of blocks in the live tree are not used again before `work`, begun just now, is over. */
  holdPlaces(work: Promise<unknown>): void {
    this.#loader.hold(work);
  }

  /** Resolves when no read or repair begun before is under way. */
  readsSettled(): Promise<void> {
    return this.#loader.settled();
  }

  // ---- one operation

  /** Runs `body` so that it happens wholly or not at all. */
  attempt<T>(claim: Claim, body: () => T): T {
    assert(!this.#open, "operations do not nest");
    this.#open = true;
    this.#serial++;
    this.claim = claim;
    if (this.earlyBlocks.length > 0) this.earlyBlocks = [];
    for (const freemap of this.freemaps) if (freemap) this.#pendingCounts[freemap.copy] = freemap.pendingCount;
    const dirtyBytes = this.#dirtyBytes;
    try {
      const result = body();
      this.#keep();
      return result;
    } catch (error) {
      this.#rollBack();
      this.#dirtyBytes = dirtyBytes;
      throw error;
    } finally {
      this.#changes.clear();
      this.#open = false;
    }
  }

  #keep(): void {
    for (const { copy, kib, sizeKib } of this.#changes.freedNow) this.#freemap(copy).freeNow(kib, sizeKib);
    for (const { block } of this.#changes.displaced) this.#cache.recycle(block);
    if (this.#early.length > 0) {
      const writes = this.#early;
      this.#early = [];
      this.#submit(writes);
    }
  }

  #rollBack(): void {
    for (const write of this.#early) write.block.writing--;
    this.#early = [];
    this.#changes.restore();
    for (const block of this.#changes.created) {
      block.dirty = false;
      this.#cache.remove(block);
      this.#cache.recycle(block);
    }
    for (const { block, wasDirty } of this.#changes.displaced) {
      if (block.createdIn === this.#serial) continue;
      block.dirty = wasDirty;
      this.#cache.add(block.cacheKey, block);
    }
    for (const { from, to } of this.#changes.rekeyed.reverse()) this.#cache.rekey(to, from);
    for (const { copy, kib, sizeKib } of this.#changes.allocated) this.#freemap(copy).freeNow(kib, sizeKib);
    for (const { copy, kib, sizeKib } of this.#changes.adopted) this.#freemap(copy).reserveAgain(kib, sizeKib);
    for (const freemap of this.freemaps) freemap?.forgetPending(this.#pendingCounts[freemap.copy] ?? 0);
  }

  #freemap(copy: number): Freemap {
    const freemap = this.freemaps[copy];
    assert(freemap !== undefined, `copy ${copy} has no allocator`);
    return freemap;
  }

  // ---- changing

  /** Says that `block`, which is writable, is about to be changed in place. */
  touch(block: Block): void {
    assert(block.dirty && this.#open, "a block is changed outside an operation or before it is writable");
    if (block.touchedIn === this.#serial) return;
    block.touchedIn = this.#serial;
    const usedBytes = block.type === RefType.INDIRECT ? block.count * BLOCKREF_BYTES : block.sizeBytes;
    this.#changes.save(block, usedBytes);
  }

  /** True when the block named there can be changed in place: it was made or copied in the open transaction. */
  fresh(holder: Block, at: number): boolean {
    return refIsDirty(holder.view, at);
  }

  /**
   * The block named there, writable: copied to a new place unless that was done in this transaction already. `placement` is
   * given for file data; other blocks, and blocks that are only moved, lie on as many copies as before.
   */
  edit(holder: Block, at: number, placement?: Placement): Block {
    const old = this.block(holder, at);
    if (old.dirty && !this.#placing.isMisplaced(holder.view, at, placement)) {
      this.touch(old);
      if (refModifyTid(holder.view, at) !== this.tid) {
        // It was moved in this transaction, or in one given up, but not changed until now.
        this.touch(holder);
        setRefModifyTid(holder.view, at, this.tid);
        setRefMirrorTid(holder.view, at, this.tid);
      }
      return old;
    }
    return this.#move(holder, at, old, old.sizeBytes, placement);
  }

  /** As `edit`, for a change that is none of the content: its age stays what it was (I8). */
  relocate(holder: Block, at: number): Block {
    const old = this.block(holder, at);
    if (old.dirty) {
      this.touch(old);
      return old;
    }
    const modifyTid = refModifyTid(holder.view, at);
    const mirrorTid = refMirrorTid(holder.view, at);
    const block = this.#move(holder, at, old, old.sizeBytes);
    setRefModifyTid(holder.view, at, modifyTid);
    setRefMirrorTid(holder.view, at, mirrorTid);
    return block;
  }

  /** As `edit`, in a block of `sizeBytes`: what fits of the content, the rest zero. */
  resize(holder: Block, at: number, sizeBytes: number, placement?: Placement): Block {
    const old = this.block(holder, at);
    if (old.sizeBytes === sizeBytes) return this.edit(holder, at, placement);
    return this.#move(holder, at, old, sizeBytes, placement);
  }

  #move(holder: Block, at: number, old: Block, sizeBytes: number, placement = placementOf(holder.view, at)): Block {
    this.touch(holder);
    // First of all: a bitmap leaf that is missing is found through `old` when that is a block of the bitmap's own tree.
    this.#placing.allocate(sizeBytes / 1024, placement);
    const buffer = this.pool.take(sizeBytes);
    const block = new Block(old.type, buffer);
    if (sizeBytes >= old.sizeBytes) {
      buffer.bytes.set(old.bytes);
      buffer.bytes.fill(0, old.sizeBytes);
    } else {
      buffer.bytes.set(old.bytes.subarray(0, sizeBytes));
    }
    block.count = old.count;
    block.itemType = old.itemType;
    this.#drop(holder.view, at, old);
    this.#place(holder, at, block);
    return block;
  }

  /** A new, zeroed block of `sizeBytes` named by the ref at `at`, whose key is set; what else the ref says is filled in. */
  create(holder: Block, at: number, type: number, sizeBytes: number, placement?: Placement): Block {
    this.touch(holder);
    const buffer = this.pool.take(sizeBytes);
    buffer.bytes.fill(0);
    return this.#install(holder, at, new Block(type, buffer), placement);
  }

  /** A new block with exactly the content `bytes` (a power of two long), written early unless it is narrow. */
  createFrom(holder: Block, at: number, type: number, bytes: Uint8Array, placement?: Placement): void {
    this.touch(holder);
    const known = this.adoptable.get(refKey(holder.view, at));
    if (known !== undefined) return this.#adopt(holder, at, type, bytes.length, known);
    const buffer = this.pool.take(bytes.length);
    buffer.bytes.set(bytes);
    this.#install(holder, at, new Block(type, buffer), placement);
    const write = this.writeEarly(holder, at);
    if (write === undefined || !this.logged) return;
    const check = holder.bytes.slice(at + REF_CHECK_OFFSET, at + REF_CHECK_OFFSET + CHECK_BYTES_MAX);
    this.earlyBlocks.push({ key: refKey(holder.view, at), pointers: write.pointers, check });
  }

  /** Fills a ref in for a block that is on media already, in places set aside for it; its content is not looked at. */
  #adopt(holder: Block, at: number, type: number, sizeBytes: number, known: EarlyBlock): void {
    const { view } = holder;
    setRefHead(view, at, type, 0, 31 - Math.clz32(sizeBytes), this.checkType);
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = known.pointers[copy] as number;
      setRefPointer(view, at, copy, kib);
      if (kib === 0) continue;
      this.#freemap(copy).endReservation(kib, sizeBytes / 1024, true);
      this.#changes.adopted.push({ copy, kib, sizeKib: sizeBytes / 1024 });
    }
    setRefFlags(view, at, 0);
    holder.bytes.set(known.check, at + REF_CHECK_OFFSET);
    setRefModifyTid(view, at, this.tid);
    setRefMirrorTid(view, at, this.tid);
    setRefMissing(view, at, this.owing === 0 ? 0 : refUnplaced(view, at, this.owing));
    this.adoptable.delete(known.key);
  }

  #install(holder: Block, at: number, block: Block, placement: Placement | undefined): Block {
    const view = holder.view;
    const level = block.type === RefType.INDIRECT ? refLevel(view, at) : 0;
    setRefHead(view, at, block.type, level, 31 - Math.clz32(block.sizeBytes), this.checkType);
    if (block.type === RefType.INDIRECT) block.itemType = itemTypeAt(holder, at, ROOT_SUPER_OFFSET);
    try {
      this.#placing.allocate(block.sizeBytes / 1024, placement);
    } catch (error) {
      this.pool.give(block.buffer);
      throw error;
    }
    this.#place(holder, at, block);
    return block;
  }

  /** Points the ref to the room just taken and enters the block as dirty. */
  #place(holder: Block, at: number, block: Block): void {
    const view = holder.view;
    this.#placing.point(view, at);
    setRefSizeBits(view, at, 31 - Math.clz32(block.sizeBytes));
    setRefModifyTid(view, at, this.tid);
    setRefMirrorTid(view, at, this.tid);
    block.dirty = true;
    block.bornIn = this.tid;
    block.touchedIn = this.#serial;
    block.createdIn = this.#serial;
    this.#dirtyBytes += block.sizeBytes;
    this.#changes.created.push(block);
    this.#cache.add(cacheKeyOf(view, at), block);
  }

  /** Frees the block named there. The ref itself stays as it is: the caller removes or refills it. */
  release(holder: Block, at: number): void {
    if (refSizeBytes(holder.view, at) === 0) return;
    this.touch(holder);
    this.#drop(holder.view, at, this.#cache.get(cacheKeyOf(holder.view, at)));
    setRefFlags(holder.view, at, refFlags(holder.view, at) & ~RefFlag.DIRTY);
  }

  /** Frees the places a ref names (I3) and takes the block, if it is in memory, out of the cache. */
  #drop(view: DataView, at: number, block: Block | undefined): void {
    const sizeKib = refSizeBytes(view, at) / 1024;
    const busy =
      block === undefined ? this.#loader.isUnderWay(cacheKeyOf(view, at)) : block.writing > 0 || block.pins > 0;
    // Only what no root and no record ever named is free at once, and only when no read, repair or write of it is under way.
    const early = this.logged && !refIsDirty(view, at);
    const neverNamed = refModifyTid(view, at) === this.tid && !busy && !early && this.#rekeyedIn !== this.tid;
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = refPointer(view, at, copy);
      if (kib === 0) continue;
      if (neverNamed) this.#changes.freedNow.push({ copy, kib, sizeKib });
      else this.#freemap(copy).freeLater(kib, sizeKib);
    }
    if (block === undefined) return;
    this.#changes.displaced.push({ block, wasDirty: block.dirty });
    if (block.dirty) this.#dirtyBytes -= block.sizeBytes;
    block.dirty = false;
    this.#cache.remove(block);
  }

  /**
   * Checks a finished block now and has it written when the operation stands: a commit then need not. A narrow block waits
   * for its commit: it stays in memory until it is durable, so that it can go to another copy if its own fails before.
   */
  writeEarly(holder: Block, at: number): PendingWrite | undefined {
    const block = this.block(holder, at);
    if (!block.dirty || !this.writesEarly || isNarrow(holder.view, at)) return undefined;
    this.touch(holder);
    this.touch(block);
    const write = this.seal(holder, at, block);
    this.#early.push(write);
    return write;
  }

  /**
   * Makes a dirty block clean: its check code goes into its ref, and which copies are owed it or something below it
   * (`owedBelow`, a bit each). Returns the write it needs.
   */
  seal(holder: Block, at: number, block: Block, owedBelow = 0): PendingWrite {
    assert(block.dirty && refIsDirty(holder.view, at), "only a dirty block is sealed");
    let owed = this.owing === 0 ? 0 : refUnplaced(holder.view, at, this.owing);
    if (owed !== 0 && isNarrow(holder.view, at)) owed &= refMissing(holder.view, at);
    setRefMissing(holder.view, at, owed | owedBelow);
    writeCheck(this.checkType, block.bytes, holder.view, at + REF_CHECK_OFFSET);
    setRefFlags(holder.view, at, refFlags(holder.view, at) & ~RefFlag.DIRTY);
    block.dirty = false;
    block.writing++;
    this.#dirtyBytes -= block.sizeBytes;
    const pointers: number[] = [];
    for (let copy = 0; copy < COPIES_MAX; copy++) pointers.push(refPointer(holder.view, at, copy));
    return { pointers, bytes: block.bytes, block };
  }

  /** The write of a sealed block is over. */
  written(writes: readonly PendingWrite[]): void {
    for (const { block } of writes) {
      block.writing--;
      // Freed while it was written: nobody else will give its buffer back.
      if (block.writing === 0 && !this.#cache.holds(block)) this.#cache.recycle(block);
    }
  }

  // ---- copies that leave and return

  /**
   * Takes the pointer to `copy` out of a ref and frees its place: the block is owed to that copy now. True when there was
   * one. In an operation, or outside of any when it can't miss.
   */
  clearPointer(holder: Block, at: number, copy: number): boolean {
    const view = holder.view;
    const kib = refPointer(view, at, copy);
    if (kib === 0) return false;
    if (this.#open) this.touch(holder);
    const before = cacheKeyOf(view, at);
    setRefPointer(view, at, copy, 0);
    setRefMissing(view, at, refMissing(view, at) | (1 << copy));
    this.#freemap(copy).freeLater(kib, refSizeBytes(view, at) / 1024);
    this.#rekey(before, holder, at);
    return true;
  }

  /**
   * Takes the pointer to `copy`, which failed before it flushed the block, out of a narrow ref: true when there was one. If
   * no other copy in sync has it, the block, which is in memory, counts as dirty again until `placeAnew`.
   */
  clearNarrow(holder: Block, at: number, copy: number): boolean {
    const { view } = holder;
    const others = placedOn(view, at) & ~(1 << copy);
    if (refPointer(view, at, copy) === 0) return false;
    if ((others & this.inSync & ~(1 << copy)) === 0) {
      const block = this.peek(holder, at);
      assert(block !== undefined, "a narrow block left memory before it was durable");
      this.unseal(holder, at, block);
      this.stranded = true;
    }
    // The last pointer stays until there is another one: the block is known by it.
    if (others !== 0) this.clearPointer(holder, at, copy);
    return true;
  }

  /** Gives a dirty narrow block other places than it has. In an operation; throws NoSpace or MISS, nothing was changed then. */
  placeAnew(holder: Block, at: number): void {
    const { view } = holder;
    assert(refIsDirty(view, at), "only a dirty block is placed anew");
    this.touch(holder);
    const sizeKib = refSizeBytes(view, at) / 1024;
    this.#placing.allocate(sizeKib, placementOf(view, at));
    const before = cacheKeyOf(view, at);
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = refPointer(view, at, copy);
      if (kib !== 0) this.#freemap(copy).freeLater(kib, sizeKib);
    }
    this.#placing.point(view, at);
    this.#rekey(before, holder, at);
  }

  /** Clears all that a ref says of a copy that leaves: nothing is owed to it. True when that changed anything. */
  forgetCopy(holder: Block, at: number, copy: number): boolean {
    const cleared = this.clearPointer(holder, at, copy);
    const missing = refMissing(holder.view, at);
    if ((missing & (1 << copy)) === 0) return cleared;
    this.touch(holder);
    setRefMissing(holder.view, at, missing & ~(1 << copy));
    return true;
  }

  /** Enters a place that holds the block named there already, flushed (I8). */
  setPointer(holder: Block, at: number, copy: number, kib: number): void {
    assert(refPointer(holder.view, at, copy) === 0, `copy ${copy} has a place for this block already`);
    this.touch(holder);
    const before = cacheKeyOf(holder.view, at);
    setRefPointer(holder.view, at, copy, kib);
    setRefMissing(holder.view, at, refMissing(holder.view, at) & ~(1 << copy));
    this.#rekey(before, holder, at);
  }

  #rekey(before: number, holder: Block, at: number): void {
    const after = cacheKeyOf(holder.view, at);
    if (after === before) return;
    this.#cache.rekey(before, after);
    if (this.#open) this.#changes.rekeyed.push({ from: before, to: after });
    this.#rekeyedIn = this.tid;
  }

  /** Makes a sealed block of a commit that was given up dirty again, because what it names changed. */
  unseal(holder: Block, at: number, block: Block): void {
    if (block.dirty) return;
    block.dirty = true;
    this.#dirtyBytes += block.sizeBytes;
    setRefFlags(holder.view, at, refFlags(holder.view, at) | RefFlag.DIRTY);
  }

  /** For messages: what the ref at `at` names. */
  describe(holder: Block, at: number): string {
    return `block of type ${refType(holder.view, at)}, key ${refKey(holder.view, at)}`;
  }
}
