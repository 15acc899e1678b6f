// Bounds the calls in flight on one node, and on all nodes of a row together. They run on libuv's pool: a copy that hangs must not
// take every thread of it (I9). The daemon has 64, so that seven copies of however many nodes leave enough to the eighth.

export const CALLS_IN_FLIGHT_MAX = 4;
/** Of a row: two of its nodes can be worked on at full speed. */
export const ROW_CALLS_IN_FLIGHT_MAX = 2 * CALLS_IN_FLIGHT_MAX;

/** A counting semaphore, first come first served. */
export class Gate {
  readonly #limit: number;
  readonly #waiting: (() => void)[] = [];
  readonly #idle: (() => void)[] = [];
  #active = 0;

  constructor(limit = CALLS_IN_FLIGHT_MAX) {
    this.#limit = limit;
  }

  /** Calls `start` as soon as fewer than the limit are running, at once if that is now. Whoever was let in leaves exactly once. */
  enter(start: () => void): void {
    if (this.#active >= this.#limit) {
      this.#waiting.push(start);
      return;
    }
    this.#active++;
    start();
  }

  /** A finished call hands its place over; only without a successor does it become free. */
  leave(): void {
    const next = this.#waiting.shift();
    if (next !== undefined) next();
    else if (--this.#active === 0) for (const wake of this.#idle.splice(0)) wake();
  }

  /** Runs `call` as soon as fewer than the limit are running. */
  async run<T>(call: () => Promise<T>): Promise<T> {
    await new Promise<void>((resolve) => this.enter(resolve));
    try {
      return await call();
    } finally {
      this.leave();
    }
  }

  /** Resolves once nothing runs or waits. */
  async idle(): Promise<void> {
    if (this.#active > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }
}
