// Which files are being read from front to back, and how far ahead of each reader blocks were asked for.

const FILES_MAX = 64;
/** A read this near to where the last one ended goes on with it: the kernel sends parts of one stream out of order. */
const NEAR_BYTES = 1024 * 1024;
/** How far ahead a stream is kept. */
const AHEAD_BYTES = 8 * 1024 * 1024;

interface Stream {
  next: number;
  ahead: number;
}

export class ReadStreams {
  readonly #streams = new Map<number, Stream>();

  /** Notes a read; the range to load ahead, if any. */
  note(ino: number, offset: number, end: number): readonly [from: number, to: number] | undefined {
    const stream = this.#streams.get(ino);
    if (stream === undefined || Math.abs(offset - stream.next) > NEAR_BYTES) {
      this.#start(ino, end);
      return undefined;
    }
    stream.next = Math.max(stream.next, end);
    if (stream.ahead - stream.next > AHEAD_BYTES / 2) return undefined;
    const from = Math.max(stream.ahead, stream.next);
    stream.ahead = stream.next + AHEAD_BYTES;
    return [from, stream.ahead];
  }

  #start(ino: number, end: number): void {
    this.#streams.delete(ino);
    if (this.#streams.size >= FILES_MAX) {
      for (const oldest of this.#streams.keys()) {
        this.#streams.delete(oldest);
        break;
      }
    }
    this.#streams.set(ino, { next: end, ahead: end });
  }
}
