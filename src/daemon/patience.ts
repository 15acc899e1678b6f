// How long the supervisor goes on starting workers. What kills one of them may kill each: a request that is sent again to the
// next, a block that every one of them comes to. So waits grow while nothing gets better, and in the end it gives up.

/** Waits before each further try while nothing gets better. */
export const WAITS_MS = [0, 0, 100, 200, 500, 1000, 2000, 5000];
/** A worker that was killed had come to something if it served so long and had answered all that was owed. */
const KILLED_AFTER_MS = 250;
/** One that died by itself did so of something it did, which the next one may do as well: that must not go on for ever. */
const FAILED_AFTER_MS = 10_000;

export interface Death {
  /** Since when it served; 0 when it never did. */
  readonly servedMs: number;
  /** By a signal from outside: not by an error of its own. */
  readonly killed: boolean;
  /** It had answered every request that the one before left unanswered. */
  readonly settled: boolean;
}

export class Patience {
  /** Workers in a row that came to nothing. */
  #tries = 0;

  /** What to wait before the next worker starts, in ms; undefined: no more of them. */
  died({ servedMs, killed, settled }: Death): number | undefined {
    if (settled && servedMs > (killed ? KILLED_AFTER_MS : FAILED_AFTER_MS)) this.#tries = 0;
    return WAITS_MS[this.#tries++];
  }

  get tries(): number {
    return this.#tries;
  }
}
