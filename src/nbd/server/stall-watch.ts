// Tells when a peer has stopped in the middle of something: a message half sent, or replies it does not take. A peer that has
// nothing to say may be silent for ever.

import type { Clock, Timer } from "../../base/clock.ts";

export interface StallWatchOptions {
  readonly clock: Clock;
  readonly stallMs: number;
  /** How far the peer has come; undefined while nobody waits for it. */
  readonly progress: () => string | undefined;
  readonly stalled: () => void;
}

/** Looks every `stallMs`; `stalled` is called once, when nothing moved between two looks. Stop it when the connection ends. */
export class StallWatch {
  readonly #options: StallWatchOptions;
  #timer: Timer | undefined;
  #seen: string | undefined;

  constructor(options: StallWatchOptions) {
    this.#options = options;
    this.#arm();
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #arm(): void {
    this.#timer = this.#options.clock.after(this.#options.stallMs, () => {
      const progress = this.#options.progress();
      if (progress !== undefined && progress === this.#seen) this.#options.stalled();
      else {
        this.#seen = progress;
        this.#arm();
      }
    });
  }
}
