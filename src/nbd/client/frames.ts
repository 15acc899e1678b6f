// Memory for requests on their way. A write is kept until a flush covers it, long after its caller has taken its bytes back,
// so it has memory of its own; taken from a pool, as filling fresh memory costs more than the copy itself.

/** Frames are cut to multiples of this, so that those of similar length serve each other. */
const GRAIN_BYTES = 4096;
/** What one flush releases in a stream of writes finds its place here. */
const IDLE_BYTES_MAX = 32 * 1024 * 1024;

export class FramePool {
  readonly #idle = new Map<number, Buffer[]>();
  #idleBytes = 0;

  /** Memory of at least `lengthBytes`, with whatever it held before. */
  take(lengthBytes: number): Buffer {
    const size = Math.ceil(lengthBytes / GRAIN_BYTES) * GRAIN_BYTES;
    const frame = this.#idle.get(size)?.pop();
    if (frame === undefined) return Buffer.allocUnsafeSlow(size);
    this.#idleBytes -= size;
    return frame;
  }

  /** For quiet times: nothing is kept. */
  clear(): void {
    this.#idle.clear();
    this.#idleBytes = 0;
  }

  /** Takes back what {@link take} gave; nobody may look at it any more. */
  give(frame: Buffer): void {
    if (this.#idleBytes + frame.length > IDLE_BYTES_MAX) return;
    this.#idleBytes += frame.length;
    const idle = this.#idle.get(frame.length);
    if (idle === undefined) this.#idle.set(frame.length, [frame]);
    else idle.push(frame);
  }
}
