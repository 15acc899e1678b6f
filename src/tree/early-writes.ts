// Data written ahead of its commit, and data found written already. While operations run, a finished block is sealed and
// goes to media as soon as its operation stands; the record of that operation names it. When the record is replayed, the
// block is adopted where it lies (trap 4: its place was set aside before anything was allocated).
// A narrow block waits for its commit instead: it stays in memory until it is durable, so that it can go to another copy
// if its own fails before.

import { objectList } from "../base/object-list.ts";
import {
  REF_CHECK_OFFSET,
  refKey,
  refUnplaced,
  setRefFlags,
  setRefHead,
  setRefMirrorTid,
  setRefMissing,
  setRefModifyTid,
  setRefPointer,
} from "../format/blockref.ts";
import { CHECK_BYTES_MAX, type CheckType } from "../format/check.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import type { Block } from "./block.ts";
import type { EarlyBlock } from "./early-block.ts";
import { isNarrow } from "./narrow.ts";
import type { PendingWrite } from "./pending-write.ts";

/** The store that blocks are written from and adopted into. */
export interface EarlyHost {
  readonly checkType: CheckType;
  readonly owing: number;
  readonly tid: number;
  useReserved(copy: number, kib: number, sizeKib: number): void;
  block(holder: Block, at: number): Block;
  touch(block: Block): void;
  seal(holder: Block, at: number, block: Block): PendingWrite;
}

export class EarlyWrites {
  readonly #host: EarlyHost;
  /** False while nothing may be written: finished blocks then wait, dirty, like all others. */
  allowed = true;
  /** Whole data windows that the last operation wrote early, for its record. */
  blocks: EarlyBlock[] = objectList();
  /** While a record is replayed: blocks it names that are on media already, by key. Each is taken out when adopted. */
  readonly adoptable = new Map<number, EarlyBlock>();
  /** Blocks finished in this operation, submitted when it stands. */
  #batch: PendingWrite[] = [];
  #submit: (writes: PendingWrite[]) => void = () => undefined;

  constructor(host: EarlyHost) {
    this.#host = host;
  }

  /** Where the writes go, in batches of one operation. */
  onWrites(submit: (writes: PendingWrite[]) => void): void {
    this.#submit = submit;
  }

  /** An operation begins. */
  begin(): void {
    if (this.blocks.length > 0) this.blocks = objectList();
  }

  /** The operation stands: what it finished is written. */
  keep(): void {
    if (this.#batch.length === 0) return;
    const writes = this.#batch;
    this.#batch = [];
    this.#submit(writes);
  }

  /** The operation is undone, and so is what it finished. */
  rollBack(): void {
    for (const write of this.#batch) write.block.writing--;
    this.#batch = [];
  }

  /** Checks the finished block named there now and has it written when the operation stands: a commit then need not. */
  write(holder: Block, at: number): PendingWrite | undefined {
    const block = this.#host.block(holder, at);
    if (!block.dirty || !this.allowed || isNarrow(holder.view, at)) return undefined;
    this.#host.touch(holder);
    this.#host.touch(block);
    const write = this.#host.seal(holder, at, block);
    this.#batch.push(write);
    return write;
  }

  /** As `write`, noted for the record of the operation: the block is a whole window. */
  writeRecorded(holder: Block, at: number): void {
    const write = this.write(holder, at);
    if (write === undefined) return;
    const check = holder.bytes.slice(at + REF_CHECK_OFFSET, at + REF_CHECK_OFFSET + CHECK_BYTES_MAX);
    this.blocks.push({ key: refKey(holder.view, at), pointers: write.pointers, check });
  }

  /**
   * Fills a ref, whose key is set, in for a block that is on media already, in places set aside for it; its content is not
   * looked at. False when the record being replayed names none there.
   */
  adopt(holder: Block, at: number, type: number, sizeBytes: number): boolean {
    const { view } = holder;
    const known = this.adoptable.get(refKey(view, at));
    if (known === undefined) return false;
    const { checkType, owing, tid } = this.#host;
    setRefHead(view, at, type, 0, 31 - Math.clz32(sizeBytes), checkType);
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = known.pointers[copy] as number;
      setRefPointer(view, at, copy, kib);
      if (kib === 0) continue;
      this.#host.useReserved(copy, kib, sizeBytes / 1024);
    }
    setRefFlags(view, at, 0);
    holder.bytes.set(known.check, at + REF_CHECK_OFFSET);
    setRefModifyTid(view, at, tid);
    setRefMirrorTid(view, at, tid);
    setRefMissing(view, at, owing === 0 ? 0 : refUnplaced(view, at, owing));
    this.adoptable.delete(known.key);
    return true;
  }
}
