// "Give me exactly n bytes" over a stream: what both ends of a connection read by. What comes is kept in a queue (byte-queue.ts)
// and handed out as views; a payload is copied only where it has to lie in memory of the caller's.
// Invariant I12: no more than what is asked for and one high-water mark is ever held; the peer waits instead.

import type { Readable } from "node:stream";
import { ByteQueue } from "./byte-queue.ts";
import { NbdClosedError } from "./errors.ts";

const HIGH_WATER_BYTES = 256 * 1024;

interface Waiter {
  readonly neededBytes: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class ByteSource {
  readonly #stream: Readable;
  readonly #queue = new ByteQueue();
  #waiter: Waiter | undefined;
  #ended = false;
  #cause: Error | undefined;
  #paused = false;
  #receivedBytes = 0;

  /** Takes the stream over; what it gives before this, others have had. */
  constructor(stream: Readable) {
    this.#stream = stream;
    stream.on("data", this.#onData);
    stream.on("error", this.#onError);
    stream.on("end", this.#onEnd);
    stream.on("close", this.#onEnd);
    stream.resume();
    // A source may take over a stream that has ended already.
    if (stream.readableEnded || stream.destroyed) this.#end(stream.errored ?? undefined);
  }

  /** Bytes that have come and were not asked for yet. */
  get heldBytes(): number {
    return this.#queue.lengthBytes;
  }

  /** All bytes that have come so far. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Somebody waits for bytes that have not come. */
  get isWaiting(): boolean {
    return this.#waiter !== undefined;
  }

  /** As `take`, without a promise, where that many have come; undefined where they have not. */
  takeNow(lengthBytes: number): Uint8Array | undefined {
    return this.heldBytes < lengthBytes ? undefined : this.#whole(lengthBytes);
  }

  /** The next `lengthBytes` bytes in one piece: a view where they came in one piece, else a copy. `what` names them in errors. */
  async take(lengthBytes: number, what: string): Promise<Uint8Array> {
    await this.#await(lengthBytes, what);
    return this.#whole(lengthBytes);
  }

  /** The next `lengthBytes` bytes in the pieces they lie in: views, no copies. They keep what they lie in alive. */
  async takePieces(lengthBytes: number, what: string): Promise<Uint8Array[]> {
    await this.#await(lengthBytes, what);
    const pieces: Uint8Array[] = [];
    for (let rest = lengthBytes; rest > 0; ) {
      const piece = this.#shift(rest);
      pieces.push(piece);
      rest -= piece.length;
    }
    return pieces;
  }

  /** Fills all `targets`, in order, as the bytes come: each is copied once, and few are held. */
  async takeInto(targets: readonly Uint8Array[], what: string): Promise<void> {
    for (const target of targets) {
      for (let at = 0; at < target.length; ) {
        if (this.heldBytes === 0) await this.#await(1, what, true);
        const piece = this.#shift(target.length - at);
        target.set(piece, at);
        at += piece.length;
      }
    }
  }

  /** Drops the next `lengthBytes` bytes as they come. */
  async skip(lengthBytes: number, what: string): Promise<void> {
    for (let rest = lengthBytes; rest > 0; ) {
      if (this.heldBytes === 0) await this.#await(1, what, true);
      rest -= this.#shift(rest).length;
    }
  }

  /** Lets go of the stream, which is paused then, so that another can take it over (TLS). Gives what has come and nobody asked for. */
  release(): Uint8Array[] {
    this.#stream.pause();
    this.#stream.off("data", this.#onData);
    this.#stream.off("error", this.#onError);
    this.#stream.off("end", this.#onEnd);
    this.#stream.off("close", this.#onEnd);
    const rest: Uint8Array[] = [];
    while (this.heldBytes > 0) rest.push(this.#shift(this.heldBytes));
    this.#end(undefined);
    return rest;
  }

  async #await(neededBytes: number, what: string, isPart = false): Promise<void> {
    if (this.heldBytes >= neededBytes) return;
    if (!this.#ended) {
      if (this.#waiter !== undefined) throw new Error(`${what}: two readers of one connection`);
      try {
        await new Promise<void>((resolve, reject) => {
          this.#waiter = { neededBytes, resolve, reject };
          this.#resume();
        });
        return;
      } catch {
        // It ended meanwhile, which is told below, by name.
      }
    }
    throw new NbdClosedError(what, this.heldBytes === 0 && !isPart, this.#cause);
  }

  #whole(lengthBytes: number): Uint8Array {
    const bytes = this.#queue.take(lengthBytes);
    this.#madeRoom();
    return bytes;
  }

  /** Hands out the front of what is there, `maxBytes` at most. There must be something. */
  #shift(maxBytes: number): Uint8Array {
    const bytes = this.#queue.shift(maxBytes);
    this.#madeRoom();
    return bytes;
  }

  #madeRoom(): void {
    if (this.heldBytes < HIGH_WATER_BYTES) this.#resume();
  }

  #resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#stream.resume();
  }

  readonly #onData = (chunk: Uint8Array): void => {
    this.#queue.push(chunk);
    this.#receivedBytes += chunk.length;
    const waiter = this.#waiter;
    if (waiter !== undefined) {
      if (this.heldBytes < waiter.neededBytes) return;
      this.#waiter = undefined;
      waiter.resolve();
    }
    if (this.heldBytes >= HIGH_WATER_BYTES && !this.#paused) {
      this.#paused = true;
      this.#stream.pause();
    }
  };

  readonly #onError = (error: Error): void => this.#end(error);
  readonly #onEnd = (): void => this.#end(undefined);

  #end(cause: Error | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cause = cause;
    const waiter = this.#waiter;
    this.#waiter = undefined;
    waiter?.reject(new Error("ended"));
  }
}
