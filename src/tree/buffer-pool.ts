// Buffers for blocks, a free list for each power of two. Each has an ArrayBuffer of its own: pieces of a common slab
// could only be collected together, and a few long-lived ones would keep many times their size in memory. What is kept
// free is bounded, so when the sizes in use change, buffers of the old size go back to the collector.

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
    const buffer = this.#list(sizeBytes).pop();
    if (buffer !== undefined) return buffer;
    const memory = new ArrayBuffer(sizeBytes);
    return { bytes: new Uint8Array(memory), view: new DataView(memory) };
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
