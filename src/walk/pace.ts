// Bounds the speed of work in the background, so that it leaves the disks to programs.

import type { Clock } from "../base/clock.ts";

export class Pace {
  readonly #clock: Clock;
  /** Bytes per second; 0 for no bound. */
  bytesPerSecond: number;
  #dueMs = 0;

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
    if (waitMs >= 1) await new Promise<void>((resolve) => this.#clock.after(waitMs, resolve));
  }
}
