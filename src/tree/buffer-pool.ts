// Buffers for blocks, a free list for each power of two. Each has an ArrayBuffer of its own: pieces of a common slab
// could only be freed together, and a few long-lived ones would keep many times their size in memory. What is kept
// free is bounded; the rest is given back to the system at once, so that a change of the sizes in use costs no memory.

import { freeAtOnce } from "../base/free-memory.ts";

/** A buffer with the one DataView that is ever made for it. */
export interface BlockBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Kept free of each size, whichever is more: enough for reading ahead and for the pre-images of one operation. */
const FREE_BYTES_MAX = 1024 * 1024;
const FREE_BUFFERS_MAX = 64;

export class BufferPool {
  readonly #free: BlockBuffer[][] = [];
  #takenBytes = 0;

  /** Bytes of buffers taken and not given back. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** A buffer of `sizeBytes` (a power of two up to 64 KiB) with unspecified content. */
  take(sizeBytes: number): BlockBuffer {
    this.#takenBytes += sizeBytes;
    const buffer = this.#list(sizeBytes).pop();
    if (buffer !== undefined) return buffer;
    const memory = new ArrayBuffer(sizeBytes);
    return { bytes: new Uint8Array(memory), view: new DataView(memory) };
  }

  /** Gives a buffer back; nobody may look at it any more. */
  give(buffer: BlockBuffer): void {
    const sizeBytes = buffer.bytes.length;
    this.#takenBytes -= sizeBytes;
    const list = this.#list(sizeBytes);
    if (list.length < FREE_BUFFERS_MAX || list.length * sizeBytes < FREE_BYTES_MAX) list.push(buffer);
    else freeAtOnce(buffer.bytes.buffer as ArrayBuffer);
  }

  #list(sizeBytes: number): BlockBuffer[] {
    const bits = 31 - Math.clz32(sizeBytes);
    return (this.#free[bits] ??= []);
  }
}
