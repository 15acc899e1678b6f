// A worker's notices to the kernel are brought by the supervisor (src/fuse/kernel/notices.ts says why). When that is gone, the worker
// brings them itself: no other one will follow it.

import type { Send } from "../fuse/kernel/notices.ts";

interface Waiting {
  readonly message: Uint8Array;
  readonly resolve: (result: number) => void;
}

export class NoticeCourier {
  readonly #hand: ((id: number, message: Uint8Array) => void) | undefined;
  readonly #bring: Send;
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #isAlone: boolean;

  /** `hand` gives a message to the supervisor, absent when that brings none; `bring` sends one from this process. */
  constructor(hand: ((id: number, message: Uint8Array) => void) | undefined, bring: Send) {
    this.#hand = hand;
    this.#bring = bring;
    this.#isAlone = hand === undefined;
  }

  readonly send: Send = (message) => {
    if (this.#isAlone) return this.#bring(message);
    const id = this.#nextId++;
    return new Promise((resolve) => {
      this.#waiting.set(id, { message, resolve });
      this.#hand?.(id, message);
    });
  };

  /** The supervisor brought it, and this is what the kernel said. */
  brought(id: number, result: number): void {
    this.#waiting.get(id)?.resolve(result);
    this.#waiting.delete(id);
  }

  /** The supervisor is gone. What it had in hand it may have brought; twice does no harm. */
  leftAlone(): void {
    this.#isAlone = true;
    for (const { message, resolve } of this.#waiting.values()) void this.#bring(message).then(resolve);
    this.#waiting.clear();
  }
}
