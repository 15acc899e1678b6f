// A channel without a kernel behind it: holds one request until it is read, and its answer until the next.

import { Errno } from "../../base/errno.ts";
import type { Channel } from "../../fuse/kernel/channel.ts";

export class PracticeChannel implements Channel {
  readonly request: Buffer;
  readonly answer: Buffer;
  #requestBytes = 0;
  #isAnswered = true;
  #onAnswer: () => void = () => undefined;

  /** `messageBytes`: the longest request; of a longer answer the rest is dropped. */
  constructor(messageBytes: number) {
    this.request = Buffer.alloc(messageBytes);
    this.answer = Buffer.alloc(messageBytes);
  }

  /** The first `lengthBytes` of the request are to be read next. */
  post(lengthBytes: number): void {
    this.#requestBytes = lengthBytes;
    this.#isAnswered = false;
  }

  /** Resolves when what was posted last is answered. */
  answered(): Promise<void> {
    if (this.#isAnswered) return Promise.resolve();
    return new Promise((resolve) => (this.#onAnswer = resolve));
  }

  read(into: Uint8Array): number {
    const lengthBytes = this.#requestBytes;
    if (lengthBytes === 0) return -Errno.EAGAIN;
    this.#requestBytes = 0;
    into.set(this.request.subarray(0, lengthBytes));
    return lengthBytes;
  }

  write(from: Uint8Array, lengthBytes: number): number {
    this.answer.set(from.subarray(0, Math.min(lengthBytes, this.answer.length)));
    this.#isAnswered = true;
    this.#onAnswer();
    return lengthBytes;
  }
}
