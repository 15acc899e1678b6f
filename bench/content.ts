// The bytes that are written: no two blocks the same and none compressible, yet the same in every run.

const SEED = 0x9e3779b9;
/** Filled once; a stamp makes each use of it different. */
const POOL_BYTES = 4 * 1024 * 1024;

export class Content {
  readonly #pool = Buffer.alloc(POOL_BYTES);
  #state = SEED;

  constructor() {
    for (let at = 0; at < POOL_BYTES; at += 4) this.#pool.writeUInt32LE(this.number(), at);
  }

  /** The next pseudo-random integer of 32 bits (xorshift). */
  number(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }

  /** An integer from 0 to `limit` - 1. */
  below(limit: number): number {
    return this.number() % limit;
  }

  /** `length` bytes, at most 1 MiB, good until the next call. */
  bytes(length: number): Buffer {
    const start = this.below(POOL_BYTES - length);
    const bytes = this.#pool.subarray(start, start + length);
    for (let at = 0; at + 4 <= length; at += 4096) bytes.writeUInt32LE(this.number(), at);
    return bytes;
  }
}
