// Bounds the speed of work in the background, so that it leaves the disks to programs.

import type { Clock } from "../base/clock.ts";

export class Pace {
  readonly #clock: Clock;
  /** Bytes per second; 0 for no bound. */
  bytesPerSecond: number;
  #dueMs = 0;
  readonly #waiting = new Set<() => void>();

  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.bytesPerSecond = bytesPerSecond;
  }

  /** Resolves when `bytes` more may be moved. */
  async take(bytes: number): Promise<void> {
    if (this.bytesPerSecond <= 0) return;
    const nowMs = this.#clock.monotonicMs();
    this.#dueMs = Math.max(this.#dueMs, nowMs) + (bytes * 1000) / this.bytesPerSecond;
    const waitMs = this.#dueMs - nowMs;
    if (waitMs < 1) return;
    await new Promise<void>((resolve) => {
      const resume = (): void => {
        this.#waiting.delete(resume);
        resolve();
      };
      this.#waiting.add(resume);
      this.#clock.after(waitMs, resume);
    });
  }

  /** Lets everybody go on at once, from now on without a bound: the work is about to be stopped. */
  release(): void {
    this.bytesPerSecond = 0;
    for (const resume of this.#waiting) resume();
  }
}
