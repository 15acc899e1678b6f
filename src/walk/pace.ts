// Bounds the speed of work in the background, so that it leaves the disks to programs. All walks share one pace; one that is to
// end waits for nothing any more.

import type { Clock } from "../base/clock.ts";

export class Pace {
  readonly #clock: Clock;
  /** 0 for no bound. */
  readonly #bytesPerSecond: number;
  #dueMs = 0;
  /** What ends the waiting of each walk that waits. */
  readonly #waiting = new Map<object, () => void>();

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** Resolves when `walk` may move `bytes` more, or is hurried. */
  async take(walk: object, bytes: number): Promise<void> {
    if (this.#bytesPerSecond <= 0) return;
    const nowMs = this.#clock.monotonicMs();
    this.#dueMs = Math.max(this.#dueMs, nowMs) + (bytes * 1000) / this.#bytesPerSecond;
    const waitMs = this.#dueMs - nowMs;
    if (waitMs < 1) return;
    await new Promise<void>((resolve) => {
      const timer = this.#clock.after(waitMs, () => this.hurry(walk));
      this.#waiting.set(walk, () => {
        timer.cancel();
        resolve();
      });
    });
  }

  /** Lets `walk` go on at once, if it waits: it is about to end. */
  hurry(walk: object): void {
    const resume = this.#waiting.get(walk);
    this.#waiting.delete(walk);
    resume?.();
  }
}
