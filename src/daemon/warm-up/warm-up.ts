// A worker that just began to serve practises while nobody asks it for anything: V8 compiles a function only after it ran for a
// while, in seconds of work that the first thousands of requests would otherwise wait beside.
//
// Programs come first: there is a turn of the event loop between two steps of a few requests, and a pause whenever the mount was
// used. A worker that has no quiet moment needs no practice soon; one whose cache has filled meanwhile has no memory for it. What goes
// wrong here is noted and touches nothing else.

import type { Clock, Timer } from "../../base/clock.ts";
import { tidyUp } from "../../base/free-memory.ts";
import { traceOf } from "../../base/thrown.ts";
import { exercise } from "./exercise.ts";
import { PracticeKernel } from "./kernel.ts";
import { PRACTICE_BYTES, PracticeVolume } from "./volume.ts";

/** A mount that is short-lived is not worth it. */
const BEGIN_AFTER_MS = 1500;
/** So long nobody has asked for anything. */
const QUIET_MS = 50;
const LOOK_AGAIN_MS = 200;
/** What is not practised by then has been done for real. */
const GIVE_UP_AFTER_MS = 60_000;
/** More of them gain little: what is slower than it could be after that runs seldom. */
export const ROUNDS = 10;

export interface WarmUpOptions {
  readonly clock: Clock;
  /** Copies of the real volume. */
  readonly copyCount: number;
  /** When the mount was used last, by the monotonic clock. */
  readonly usedAtMs: () => number;
  /** What this process may take, with the practice. */
  readonly memoryBytesMax: number;
  /** Told in one line why there is no practice, or no more. */
  readonly onNote: (line: string) => void;
}

export class WarmUp {
  readonly #options: WarmUpOptions;
  readonly #startedMs: number;
  readonly #timer: Timer;
  #closed = false;

  /** Begins in a while. */
  constructor(options: WarmUpOptions) {
    this.#options = options;
    this.#startedMs = options.clock.monotonicMs();
    this.#timer = options.clock.after(BEGIN_AFTER_MS, () => void this.#run());
  }

  /** Takes no further step. */
  close(): void {
    this.#closed = true;
    this.#timer.cancel();
  }

  async #run(): Promise<void> {
    try {
      if (!(await this.#quiet())) return;
      const { copyCount, clock, memoryBytesMax } = this.#options;
      if (process.memoryUsage.rss() + PRACTICE_BYTES > memoryBytesMax) return;
      const volume = await PracticeVolume.make(copyCount, clock);
      try {
        await this.#practise(volume);
      } finally {
        await volume.close();
      }
      // What is left of it would only go with the next collection of old objects, far in the future.
      setImmediate(tidyUp);
    } catch (error) {
      this.#fault(error);
    }
  }

  async #practise(volume: PracticeVolume): Promise<void> {
    const kernel = new PracticeKernel(volume.fs, (error) => this.#fault(error));
    for (let round = 0; round < ROUNDS; round++) {
      const steps = exercise(kernel, round);
      while ((await steps.next()).done !== true) if (!(await this.#quiet())) return;
    }
  }

  /** Resolves after a turn of the event loop, as soon as nobody uses the mount; false: it is time to stop. */
  async #quiet(): Promise<boolean> {
    const { clock, usedAtMs } = this.#options;
    await new Promise(setImmediate);
    for (;;) {
      const now = clock.monotonicMs();
      if (this.#closed || now - this.#startedMs > GIVE_UP_AFTER_MS) return false;
      if (now - usedAtMs() >= QUIET_MS) return true;
      await new Promise<void>((resolve) => clock.after(LOOK_AGAIN_MS, resolve));
    }
  }

  #fault(error: unknown): void {
    this.#options.onNote(`no practice: ${traceOf(error)}`);
  }
}
