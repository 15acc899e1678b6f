// What both ends of a connection send by: messages of several pieces, none copied, and a promise to wait for when the other
// end does not take them as fast as they come.
// Invariant I12: the sink holds what it is given; who has much to send awaits `drained` first, so memory stays bounded.

import type { Writable } from "node:stream";
import { NbdClosedError } from "./errors.ts";

export class ByteSink {
  readonly #stream: Writable;
  readonly #waiting: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  #corked = false;
  #sentBytes = 0;
  #cause: Error | undefined;

  constructor(stream: Writable) {
    this.#stream = stream;
    stream.on("drain", this.#onDrain);
    stream.on("error", this.#onError);
    stream.on("close", this.#onClose);
  }

  /** Bytes given to it that the system has not taken yet. */
  get heldBytes(): number {
    return this.#stream.writableLength;
  }

  /** All bytes given to it so far. */
  get sentBytes(): number {
    return this.#sentBytes;
  }

  /**
   * Sends the pieces in order, with nothing of others between. The caller leaves the bytes alone until they have gone out, and
   * learns of a broken connection from `drained` or from reading. All that one turn of the loop sends goes out in one call.
   */
  send(...pieces: readonly Uint8Array[]): void {
    this.#write(pieces, undefined);
  }

  /** As `send`; `sent` is called once the bytes are nobody's any more, gone out or not. */
  sendAndTell(sent: () => void, ...pieces: readonly Uint8Array[]): void {
    this.#write(pieces, sent);
  }

  #write(pieces: readonly Uint8Array[], sent: (() => void) | undefined): void {
    if (this.#stream.destroyed || this.#stream.writableEnded) {
      sent?.();
      return;
    }
    if (!this.#corked) {
      this.#corked = true;
      this.#stream.cork();
      process.nextTick(this.#uncork);
    }
    pieces.forEach((piece, i) => {
      this.#sentBytes += piece.length;
      this.#stream.write(piece, i === pieces.length - 1 ? sent : undefined);
    });
  }

  /** Resolves when there is room for more; rejects with NbdClosedError when there never will be. */
  async drained(what: string): Promise<void> {
    try {
      if (this.#stream.destroyed) throw new Error("closed");
      if (!this.#stream.writableNeedDrain) return;
      await new Promise<void>((resolve, reject) => this.#waiting.push({ resolve, reject }));
    } catch {
      throw new NbdClosedError(what, false, this.#cause ?? this.#stream.errored ?? undefined);
    }
  }

  /** Lets go of the stream, so that another can take it over (TLS); what was sent is on its way. */
  release(): void {
    this.#uncork();
    this.#stream.off("drain", this.#onDrain);
    this.#stream.off("error", this.#onError);
    this.#stream.off("close", this.#onClose);
  }

  readonly #uncork = (): void => {
    if (!this.#corked) return;
    this.#corked = false;
    this.#stream.uncork();
  };
  readonly #onDrain = (): void => {
    for (const { resolve } of this.#waiting.splice(0)) resolve();
  };
  readonly #onError = (error: Error): void => {
    this.#cause ??= error;
  };
  readonly #onClose = (): void => {
    for (const { reject } of this.#waiting.splice(0)) reject(new Error("closed"));
  };
}
