// For how long nothing has been heard from a server: not how long one answer takes, which may be for good reasons.

import type { Clock } from "../../base/clock.ts";

export class Silence {
  readonly #clock: Clock;
  #bytes = 0;
  #sinceMs: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceMs = clock.monotonicMs();
  }

  /** To be told now and then what a connection has received in all; since when that has not grown, by the monotonic clock. */
  since(receivedBytes: number): number {
    if (receivedBytes !== this.#bytes) {
      this.#bytes = receivedBytes;
      this.#sinceMs = this.#clock.monotonicMs();
    }
    return this.#sinceMs;
  }
}
