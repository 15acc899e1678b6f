// Blocks changed by copy-on-write inside one open transaction, over the verified ones in memory. All synchronous: a
// block that is not here is queued and MISS thrown. A changed block has its new place at once, on every copy, so an
// allocation that fails does so in the operation that needs it (I10) and a commit allocates for the bitmaps only.
// Keeps I1/I2 with src/volume: a place named by any root or written under way is never given out again early (I3).

import { assert } from "../base/assert.ts";
import {
  BLOCKREF_BYTES,
  REF_CHECK_OFFSET,
  RefFlag,
  RefType,
  refFlags,
  refIsDirty,
  refLevel,
  refMirrorTid,
  refMissing,
  refModifyTid,
  refPointer,
  refSizeBytes,
  refUnplaced,
  setRefFlags,
  setRefHead,
  setRefMirrorTid,
  setRefMissing,
  setRefModifyTid,
  setRefSizeBits,
} from "../format/blockref.ts";
import { type CheckType, writeCheck } from "../format/check.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { ROOT_SUPER_OFFSET } from "../format/root-block.ts";
import { Claim, type Freemap } from "../freemap/freemap.ts";
import { Block, itemTypeAt } from "./block.ts";
import { ChangeSet } from "./change-set.ts";
import { CopyPointers } from "./copy-pointers.ts";
import { EarlyWrites } from "./early-writes.ts";
import { cacheKeyOf } from "./loader.ts";
import { isNamedBy, noteRef } from "./named-by.ts";
import { isNarrow, type Placement, placementOf } from "./narrow.ts";
import type { PendingWrite } from "./pending-write.ts";
import { Placing } from "./placing.ts";
import { VerifiedBlocks, type VerifiedBlocksOptions } from "./verified-blocks.ts";

export interface BlockStoreOptions extends VerifiedBlocksOptions {
  readonly checkType: CheckType;
}

export class BlockStore extends VerifiedBlocks {
  readonly checkType: CheckType;
  /** Allocators of all copies the volume has, present or not, by copy index. */
  readonly freemaps: (Freemap | undefined)[] = [];
  /** Bit per copy that new blocks go to. */
  targets = 0;
  /** Those of them that must have room for every block; the others go without when they are full. */
  required = 0;
  /** Bit per copy in sync and at hand: a narrow block lies on one of these at least. */
  inSync = 0;
  /** Bit per copy that may be owed blocks: what is sealed says so (I8). */
  owing = 0;
  /** Bit per copy on its way out: what a narrow block lacks of one is brought to another copy. */
  leaving = 0;
  /** Bit per copy that had no room for a block it should have got. */
  full = 0;
  /** The open transaction; its root's sequence. */
  tid = 1;
  /** How deep the operation at hand may dip into the reserve. */
  claim: Claim = Claim.ORDINARY;
  readonly #changes: ChangeSet;
  #serial = 1;
  #open = false;
  /** The transaction in which cache keys changed: reads under way under old keys can't be told any more. */
  #rekeyedIn = 0;
  readonly #pendingCounts: number[] = [];
  #dirtyBytes = 0;
  /** Those of narrow blocks among them, and those of narrow blocks sealed and not durable yet. */
  #narrowDirtyBytes = 0;
  #narrowSealedBytes = 0;
  readonly #placing: Placing;
  /** What refs say of a copy that leaves or returns. */
  readonly pointers: CopyPointers;
  /** What is written ahead of its commit, and what is found written when a record is replayed. */
  readonly early: EarlyWrites;
  /** True while operations are logged or replayed: records name early blocks, so those are freed like what a root names (I3). */
  logged = false;

  constructor(options: BlockStoreOptions) {
    super(options);
    this.checkType = options.checkType;
    this.#changes = new ChangeSet(this.pool);
    this.#placing = new Placing(this, this.#changes);
    this.pointers = new CopyPointers(this, this.#placing);
    this.early = new EarlyWrites(this);
  }

  /** Bytes of blocks changed in the open transaction and not written yet. */
  get dirtyBytes(): number {
    return this.#dirtyBytes;
  }

  /** Bytes of narrow blocks that are not durable: if their copy fails, all have to go to others. */
  get narrowBytes(): number {
    return this.#narrowDirtyBytes + this.#narrowSealedBytes;
  }

  // ---- one operation

  /** True inside an operation, when a tree may be half changed. */
  get inOperation(): boolean {
    return this.#open;
  }

  /** Runs `body` so that it happens wholly or not at all. */
  attempt<T>(claim: Claim, body: () => T): T {
    assert(!this.#open, "operations do not nest");
    this.#open = true;
    this.#serial++;
    this.claim = claim;
    this.early.begin();
    for (const freemap of this.freemaps) if (freemap) this.#pendingCounts[freemap.copy] = freemap.pendingCount;
    const [dirtyBytes, narrowDirtyBytes] = [this.#dirtyBytes, this.#narrowDirtyBytes];
    try {
      const result = body();
      this.#keep();
      return result;
    } catch (error) {
      this.#rollBack();
      this.#dirtyBytes = dirtyBytes;
      this.#narrowDirtyBytes = narrowDirtyBytes;
      throw error;
    } finally {
      this.#changes.clear();
      this.#open = false;
      this.cache.trim();
    }
  }

  #keep(): void {
    for (const { copy, kib, sizeKib } of this.#changes.freedNow) this.freemap(copy).freeNow(kib, sizeKib);
    for (const { block } of this.#changes.displaced) this.cache.recycle(block);
    this.early.keep();
  }

  #rollBack(): void {
    this.early.rollBack();
    this.#changes.restore();
    for (const block of this.#changes.created) {
      block.dirty = false;
      this.cache.remove(block);
      this.cache.recycle(block);
    }
    for (const { block, wasDirty, wasCached } of this.#changes.displaced) {
      if (block.createdIn === this.#serial) continue;
      block.dirty = wasDirty;
      // Where two refs name one place the other block may have been the one in the cache.
      if (wasCached) this.cache.add(block.cacheKey, block);
    }
    for (const { from, to } of this.#changes.rekeyed.reverse()) this.cache.rekey(to, from);
    for (const { copy, kib, sizeKib } of this.#changes.allocated) this.freemap(copy).freeNow(kib, sizeKib);
    for (const { copy, kib, sizeKib } of this.#changes.adopted) this.freemap(copy).reserveAgain(kib, sizeKib);
    for (const freemap of this.freemaps) freemap?.forgetPending(this.#pendingCounts[freemap.copy] ?? 0);
  }

  /** The allocator of a copy that the volume has. */
  freemap(copy: number): Freemap {
    const freemap = this.freemaps[copy];
    assert(freemap !== undefined, `copy ${copy} has no allocator`);
    return freemap;
  }

  /** A place that was set aside is in use from now on; set aside again if the operation is undone. */
  useReserved(copy: number, kib: number, sizeKib: number): void {
    this.freemap(copy).endReservation(kib, sizeKib, true);
    this.#changes.adopted.push({ copy, kib, sizeKib });
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
    const block = this.own(holder, at, placement);
    this.touch(block);
    return block;
  }

  /** As `edit`, for a block on the way to another: it is not saved for undo until somebody touches it. */
  own(holder: Block, at: number, placement?: Placement): Block {
    const old = this.block(holder, at);
    if (!old.dirty || this.#placing.isMisplaced(holder.view, at, placement)) {
      return this.#move(holder, at, old, old.sizeBytes, placement);
    }
    if (refModifyTid(holder.view, at) !== this.tid) {
      // It was moved in this transaction, or in one given up, but not changed until now.
      this.touch(holder);
      setRefModifyTid(holder.view, at, this.tid);
      setRefMirrorTid(holder.view, at, this.tid);
    }
    return old;
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
    if (this.early.adopt(holder, at, type, bytes.length)) return;
    const buffer = this.pool.take(bytes.length);
    buffer.bytes.set(bytes);
    this.#install(holder, at, new Block(type, buffer), placement);
    if (this.logged) this.early.writeRecorded(holder, at);
    else this.early.write(holder, at);
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
    block.narrow = isNarrow(view, at);
    this.#countDirty(block, 1);
    this.#changes.created.push(block);
    const key = cacheKeyOf(view, at);
    this.forget(key);
    this.cache.add(key, block);
  }

  /** Frees the block named there. The ref itself stays as it is: the caller removes or refills it. */
  release(holder: Block, at: number): void {
    if (refSizeBytes(holder.view, at) === 0) return;
    this.touch(holder);
    this.#drop(holder.view, at, this.peek(holder, at));
    setRefFlags(holder.view, at, refFlags(holder.view, at) & ~RefFlag.DIRTY);
  }

  /** Frees the places a ref names (I3) and takes the block, if it is in memory, out of the cache. */
  #drop(view: DataView, at: number, block: Block | undefined): void {
    const sizeKib = refSizeBytes(view, at) / 1024;
    const busy =
      block === undefined ? this.loader.isUnderWay(cacheKeyOf(view, at)) : block.writing > 0 || block.pins > 0;
    // Only what no root and no record ever named is free at once, and only when no read, repair or write of it is under way.
    const early = this.logged && !refIsDirty(view, at);
    const neverNamed = refModifyTid(view, at) === this.tid && !busy && !early && this.#rekeyedIn !== this.tid;
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = refPointer(view, at, copy);
      if (kib === 0) continue;
      if (neverNamed) this.#changes.freedNow.push({ copy, kib, sizeKib });
      else this.freemap(copy).freeLater(kib, sizeKib);
    }
    if (block === undefined) return this.forget(cacheKeyOf(view, at));
    this.#changes.displaced.push({ block, wasDirty: block.dirty, wasCached: this.cache.holds(block) });
    if (block.dirty) this.#countDirty(block, -1);
    block.dirty = false;
    this.cache.remove(block);
  }

  #countDirty({ sizeBytes, narrow }: Block, blocks: number): void {
    this.#dirtyBytes += sizeBytes * blocks;
    if (narrow) this.#narrowDirtyBytes += sizeBytes * blocks;
  }

  /**
   * Makes a dirty block clean: its check code goes into its ref, and which copies are owed it or something below it
   * (`owedBelow`, a bit each). Returns the write it needs.
   */
  seal(holder: Block, at: number, block: Block, owedBelow = 0): PendingWrite {
    assert(block.dirty && refIsDirty(holder.view, at), "only a dirty block is sealed");
    setRefMissing(holder.view, at, this.#owed(holder.view, at) | owedBelow);
    writeCheck(this.checkType, block.bytes, holder.view, at + REF_CHECK_OFFSET);
    setRefFlags(holder.view, at, refFlags(holder.view, at) & ~RefFlag.DIRTY);
    noteRef(block, holder.view, at);
    block.dirty = false;
    block.writing++;
    this.#countDirty(block, -1);
    const { narrow } = block;
    if (narrow) this.#narrowSealedBytes += block.sizeBytes;
    const pointers: number[] = [];
    for (let copy = 0; copy < COPIES_MAX; copy++) pointers.push(refPointer(holder.view, at, copy));
    return { pointers, bytes: block.bytes, block, narrow };
  }

  /** Bit per copy that is owed the block named there. */
  #owed(view: DataView, at: number): number {
    const away = this.owing | this.leaving;
    if (away === 0) return 0;
    return isNarrow(view, at) ? refMissing(view, at) & refUnplaced(view, at, away) : refUnplaced(view, at, this.owing);
  }

  /** The write of a sealed block is over. */
  written(writes: readonly PendingWrite[]): void {
    for (const { block, narrow } of writes) {
      block.writing--;
      if (narrow) this.#narrowSealedBytes -= block.sizeBytes;
      // Freed while it was written: nobody else will give its buffer back.
      if (block.writing === 0 && !this.cache.holds(block)) this.cache.recycle(block);
    }
  }

  /** Makes a sealed block of a commit that was given up dirty again, because what it names changed. */
  unseal(holder: Block, at: number, block: Block): void {
    if (block.dirty) return;
    block.dirty = true;
    block.narrow = isNarrow(holder.view, at);
    this.#countDirty(block, 1);
    setRefFlags(holder.view, at, refFlags(holder.view, at) | RefFlag.DIRTY);
  }

  /**
   * Another first pointer: the block known as `before` gets the key that its ref at `at` says now. One that is queued stays queued
   * under the old key: when this is undone by a miss, that is the one it is asked for by.
   */
  rekey(before: number, holder: Block, at: number): void {
    const after = cacheKeyOf(holder.view, at);
    if (after === before) return;
    this.#rekeyedIn = this.tid;
    const block = this.cache.get(before);
    if (block === undefined || !isNamedBy(block, holder, at)) return;
    this.cache.rekey(before, after);
    if (this.#open) this.#changes.rekeyed.push({ from: before, to: after });
  }
}
