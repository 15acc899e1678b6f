// Buffers for what is read, used again: memory that is new each time costs more to get and to give back than the reading.

const KEPT_MAX_BYTES = 8 * 1024 * 1024;
const KEPT_LENGTHS_MAX = 16;

export class ReadBuffers {
  /** By length: clients use few of them. */
  readonly #kept = new Map<number, Uint8Array[]>();
  #keptBytes = 0;

  /** A buffer of that length, whatever is in it. */
  take(lengthBytes: number): Uint8Array {
    const kept = this.#kept.get(lengthBytes)?.pop();
    if (kept === undefined) return Buffer.allocUnsafeSlow(lengthBytes);
    this.#keptBytes -= lengthBytes;
    return kept;
  }

  /** Takes a buffer back that nobody uses any more. */
  give(buffer: Uint8Array): void {
    if (this.#keptBytes + buffer.length > KEPT_MAX_BYTES) this.#forget();
    if (buffer.length > KEPT_MAX_BYTES) return;
    const same = this.#kept.get(buffer.length);
    if (same !== undefined) same.push(buffer);
    else {
      if (this.#kept.size === KEPT_LENGTHS_MAX) this.#forget();
      this.#kept.set(buffer.length, [buffer]);
    }
    this.#keptBytes += buffer.length;
  }

  #forget(): void {
    this.#kept.clear();
    this.#keptBytes = 0;
  }
}
