// Bytes that have come and were not taken yet, in the pieces they came in. They are handed out as views, which stay as they are.
// Invariant I12: a peer that sends byte after byte costs no more than one that doesn't. Small pieces behind one another are joined,
// so that there are few of them for the bytes they hold; and to take one costs the same, however many there are.

/** A piece of fewer bytes is joined to another such piece before it. Large ones are never copied. */
const SMALL_BYTES = 4096;

interface Piece {
  bytes: Uint8Array;
  next: Piece | undefined;
}

export class ByteQueue {
  #first: Piece | undefined;
  #last: Piece | undefined;
  /** Bytes of the first piece that have been handed out. */
  #usedBytes = 0;
  #lengthBytes = 0;
  #pieces = 0;
  /** Where the last pieces that were joined lie, from its beginning; what is behind them is free. */
  #joined = new Uint8Array(0);

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  /** How many pieces the bytes lie in. */
  get pieces(): number {
    return this.#pieces;
  }

  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#lengthBytes += bytes.length;
    const last = this.#last;
    if (last !== undefined && last.bytes.length < SMALL_BYTES && bytes.length < SMALL_BYTES) {
      last.bytes = this.#join(last.bytes, bytes);
      return;
    }
    const piece = { bytes, next: undefined };
    if (last === undefined) this.#first = piece;
    else last.next = piece;
    this.#last = piece;
    this.#pieces++;
  }

  /** The front of the first piece, `maxBytes` at most: a view. There must be one. */
  shift(maxBytes: number): Uint8Array {
    const { bytes, next } = this.#first as Piece;
    const from = this.#usedBytes;
    const to = Math.min(bytes.length, from + maxBytes);
    this.#lengthBytes -= to - from;
    if (to < bytes.length) this.#usedBytes = to;
    else {
      this.#usedBytes = 0;
      this.#first = next;
      if (next === undefined) this.#last = undefined;
      this.#pieces--;
    }
    return from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to);
  }

  /** The next `lengthBytes` bytes, of which there must be as many, in one piece: a view where they lie in one, else a copy. */
  take(lengthBytes: number): Uint8Array {
    if (lengthBytes === 0) return new Uint8Array(0);
    const { bytes } = this.#first as Piece;
    if (bytes.length - this.#usedBytes >= lengthBytes) return this.shift(lengthBytes);
    const taken = new Uint8Array(lengthBytes);
    for (let at = 0; at < lengthBytes; ) {
      const part = this.shift(lengthBytes - at);
      taken.set(part, at);
      at += part.length;
    }
    return taken;
  }

  /** Both small pieces as one. The first one may be handed out in part: its bytes keep their places. */
  #join(first: Uint8Array, second: Uint8Array): Uint8Array {
    const end = first.length + second.length;
    if (first.buffer !== this.#joined.buffer) {
      this.#joined = new Uint8Array(2 * SMALL_BYTES);
      this.#joined.set(first);
    }
    // Never over what a view shows: that ends where the first one does.
    this.#joined.set(second, first.length);
    return this.#joined.subarray(0, end);
  }
}
