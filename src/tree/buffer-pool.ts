// Buffers for blocks, one free list per power of two. Small ones are cut from 64 KiB slabs, so that ten thousand
// inodes are not ten thousand ArrayBuffers for the collector to visit. What is kept free is bounded: when the sizes in
// use change, buffers of the old size go back to the collector.

import { BLOCK_MAX_BYTES } from "../format/geometry.ts";

/** A buffer with the one DataView that is ever made for it. */
export interface BlockBuffer {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Free bytes kept for each size. */
const FREE_BYTES_MAX = 4 * 1024 * 1024;

export class BufferPool {
  readonly #free: BlockBuffer[][] = [];

  /** A buffer of `sizeBytes` (a power of two up to 64 KiB) with unspecified content. */
  take(sizeBytes: number): BlockBuffer {
    const list = this.#list(sizeBytes);
    const buffer = list.pop();
    if (buffer !== undefined) return buffer;
    const slab = new ArrayBuffer(BLOCK_MAX_BYTES);
    for (let at = BLOCK_MAX_BYTES - sizeBytes; at > 0; at -= sizeBytes) list.push(cut(slab, at, sizeBytes));
    return cut(slab, 0, sizeBytes);
  }

  /** Gives a buffer back; nobody may look at it any more. */
  give(buffer: BlockBuffer): void {
    const list = this.#list(buffer.bytes.length);
    if (list.length * buffer.bytes.length < FREE_BYTES_MAX) list.push(buffer);
  }

  #list(sizeBytes: number): BlockBuffer[] {
    const bits = 31 - Math.clz32(sizeBytes);
    return (this.#free[bits] ??= []);
  }
}

function cut(slab: ArrayBuffer, at: number, sizeBytes: number): BlockBuffer {
  return { bytes: new Uint8Array(slab, at, sizeBytes), view: new DataView(slab, at, sizeBytes) };
}
