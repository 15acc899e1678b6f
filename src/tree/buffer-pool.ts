// Buffers for blocks, a free list for each power of two. Each has an ArrayBuffer of its own: pieces of a common slab
// could only be freed together, and a few long-lived ones would keep many times their size in memory.
//
// What is free is kept as long as all buffers together stay below the limit: making one costs more than most requests, above
// all the first touch of its pages. When it is reached, free buffers of other sizes are given back to the system at once, so
// that a change of the sizes in use costs no memory.

import { freeAtOnce } from "../base/free-memory.ts";
import { objectList } from "../base/object-list.ts";

/** A buffer with the one DataView that is ever made for it. */
export interface BlockBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** What a buffer takes besides its bytes: its objects, its head, and the block and the entry of the cache it is taken for. */
const OVERHEAD_BYTES = 768;
/** Part of the limit that blocks leave free: what is read next finds buffers of those that went before. */
const STOCK_PART = 1 / 12;
/** Kept free of each size whatever the limit: enough for reading ahead and for the pre-images of one operation. */
const FREE_BYTES_MIN = 1024 * 1024;
const FREE_BUFFERS_MIN = 64;
const SIZES = 17;

export class BufferPool {
  readonly #limitBytes: number;
  /** By the logarithm of their size. */
  readonly #free: readonly BlockBuffer[][] = Array.from({ length: SIZES }, () => objectList());
  #takenBytes = 0;
  #freeBytes = 0;

  /** Keeps free buffers while all together take less than `limitBytes`. */
  constructor(limitBytes = 0) {
    this.#limitBytes = limitBytes;
  }

  /** Memory of the buffers taken and not given back, all that goes with them included. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** What is taken leaves less than it should for what is taken next. */
  get isOverdrawn(): boolean {
    return this.#takenBytes > this.#limitBytes * (1 - STOCK_PART);
  }

  /** A buffer of `sizeBytes` (a power of two up to 64 KiB) with unspecified content. */
  take(sizeBytes: number): BlockBuffer {
    const withOverhead = sizeBytes + OVERHEAD_BYTES;
    this.#takenBytes += withOverhead;
    const buffer = this.#list(sizeBytes).pop();
    if (buffer !== undefined) {
      this.#freeBytes -= withOverhead;
      return buffer;
    }
    this.#shrink();
    const memory = new ArrayBuffer(sizeBytes);
    return { bytes: new Uint8Array(memory), view: new DataView(memory) };
  }

  /** Gives a buffer back; nobody may look at it any more. */
  give(buffer: BlockBuffer): void {
    const sizeBytes = buffer.bytes.length;
    this.#takenBytes -= sizeBytes + OVERHEAD_BYTES;
    this.#freeBytes += sizeBytes + OVERHEAD_BYTES;
    this.#list(sizeBytes).push(buffer);
    this.#shrink();
  }

  /** Counts a buffer no more that is left to the collector: somebody may still write to it. */
  writeOff(buffer: BlockBuffer): void {
    this.#takenBytes -= buffer.bytes.length + OVERHEAD_BYTES;
  }

  #list(sizeBytes: number): BlockBuffer[] {
    return this.#free[31 - Math.clz32(sizeBytes)] as BlockBuffer[];
  }

  /** Frees the largest first: what is taken next is more often small, and few calls free much. */
  #shrink(): void {
    for (let bits = SIZES - 1; this.#takenBytes + this.#freeBytes > this.#limitBytes && bits >= 0; bits--) {
      const list = this.#free[bits] as BlockBuffer[];
      const sizeBytes = 1 << bits;
      while (
        list.length > Math.max(FREE_BUFFERS_MIN, FREE_BYTES_MIN / sizeBytes) &&
        this.#takenBytes + this.#freeBytes > this.#limitBytes
      ) {
        const { bytes } = list.pop() as BlockBuffer;
        this.#freeBytes -= sizeBytes + OVERHEAD_BYTES;
        freeAtOnce(bytes.buffer as ArrayBuffer);
      }
    }
  }
}
