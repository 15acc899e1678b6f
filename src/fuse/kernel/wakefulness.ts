// Decides whether a daemon without a request stays awake for the next one, and how long, from what it measures.
//
// Waking a sleeping thread on an idle CPU costs tens of microseconds, so staying awake usually pays. It does not when the other
// CPUs are busy: the kernel then runs client and daemon in turns on one CPU, and sleeping at once is the fastest hand-over. So
// both are tried in a stream of requests and the faster one is used, with the loser tried again from time to time.

/** Longest time awake without a request; a longer pause is no stream, and being woken after it is little in proportion. */
const AWAKE_LIMIT_MS = 0.25;
const AWAKE_START_MS = 0.05;
/** Requests per measurement. */
const TRIAL_REQUESTS = 48;
/** Pauses count at most this much, so that one of them does not decide a trial. */
const GAP_LIMIT_MS = 0.5;
/** Trials of the better way between two of the other; doubles from the first to the second while it stays the better one. */
const TRIALS_BEFORE_RETRY = 4;
const TRIALS_BEFORE_RETRY_LIMIT = 32;

type Way = "awake" | "asleep";

export class Wakefulness {
  #limitMs = AWAKE_START_MS;
  #best: Way = "awake";
  #trying: Way = "awake";
  readonly #costMs: Record<Way, number> = { awake: 0, asleep: 0 };
  #trialRequests = 0;
  #trialMs = 0;
  #sinceRetry = 0;
  #retryAfter = TRIALS_BEFORE_RETRY;
  #servedMs = 0;

  /** How long to stay awake from now on. */
  get limitMs(): number {
    return this.#trying === "awake" ? this.#limitMs : 0;
  }

  /** At `nowMs`, `count` requests have been served one right after the other, the first after `waitedMs` with nothing to do. */
  served(count: number, nowMs: number, waitedMs: number): void {
    if (waitedMs > AWAKE_LIMIT_MS) this.#limitMs /= 2;
    else this.#limitMs = Math.min(AWAKE_LIMIT_MS, Math.max(this.#limitMs, AWAKE_START_MS, 3 * waitedMs));
    this.#trialMs += Math.min(GAP_LIMIT_MS, nowMs - this.#servedMs);
    this.#servedMs = nowMs;
    this.#trialRequests += count;
    if (this.#trialRequests >= TRIAL_REQUESTS) this.#judge();
  }

  #judge(): void {
    const tried = this.#trying;
    this.#costMs[tried] = this.#trialMs / this.#trialRequests;
    this.#trialRequests = 0;
    this.#trialMs = 0;
    if (tried !== this.#best) {
      const better = this.#costMs[tried] < this.#costMs[this.#best];
      this.#retryAfter = better ? TRIALS_BEFORE_RETRY : Math.min(2 * this.#retryAfter, TRIALS_BEFORE_RETRY_LIMIT);
      if (better) this.#best = tried;
      this.#trying = this.#best;
      this.#sinceRetry = 0;
    } else if (++this.#sinceRetry === this.#retryAfter) {
      this.#trying = tried === "awake" ? "asleep" : "awake";
    }
  }
}
