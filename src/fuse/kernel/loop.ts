// Serves a session from the event loop: one turn takes a request or finds none, and then either comes back at once, so that the
// next request meets an awake daemon (waking up costs several times an answer), or lets the event loop sleep until something comes.
//
// Every turn passes through the event loop (about 0.6 µs), so promises, completions and timers never wait behind requests.
// How long to stay awake is learned: it grows while requests keep coming soon after an answer and shrinks when they don't.
// With one CPU it is never worth it: the program that would send the next request could not run.

import { availableParallelism } from "node:os";
import { performance } from "node:perf_hooks";
import type { Session } from "./session.ts";

/** Longest time awake without a request; beyond it a sleeping daemon costs its clients little in proportion. */
const AWAKE_LIMIT_MS = 0.25;
const AWAKE_START_MS = 0.05;
/** Requests taken in one turn, while they are there. */
const BATCH = 8;
/** The CPUs allowed may change while we run (taskset -p). */
const AFFINITY_CHECK_MS = 500;

export class ServeLoop {
  readonly #session: Session;
  readonly #turn = (): void => this.#run();
  #resolve: () => void = () => undefined;
  #awakeLimitMs = AWAKE_START_MS;
  /** When the last request had been dealt with, or, asleep, when it was decided to sleep. */
  #idleSinceMs = 0;
  #asleep = false;
  #spins = false;
  #affinityCheckedMs = -Infinity;
  #stopped = false;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Serves until the session is closed or `stop` is called. The descriptor must wake the event loop (see Wakeup). */
  run(): Promise<void> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#idleSinceMs = performance.now();
      setImmediate(this.#turn);
    });
  }

  /** Takes no further request; those in flight are still answered. */
  stop(): void {
    this.#stopped = true;
    setImmediate(this.#turn);
  }

  #run(): void {
    if (this.#stopped) return this.#resolve();
    let step = this.#session.step();
    if (step === "served") {
      this.#learn();
      for (let taken = 1; step === "served" && taken < BATCH; taken++) step = this.#session.step();
      this.#idleSinceMs = performance.now();
      this.#asleep = false;
    }
    switch (step) {
      case "served":
      case "full": // Comes back after the event loop had its turn; that is what frees a buffer.
        setImmediate(this.#turn);
        return;
      case "idle":
        this.#wait();
        return;
      case "closed":
        this.#stopped = true;
        this.#resolve();
    }
  }

  #wait(): void {
    const now = performance.now();
    if (now - this.#affinityCheckedMs > AFFINITY_CHECK_MS) {
      this.#affinityCheckedMs = now;
      this.#spins = availableParallelism() > 1;
    }
    if (this.#spins && !this.#asleep && now - this.#idleSinceMs < this.#awakeLimitMs) {
      setImmediate(this.#turn);
      return;
    }
    // Not referenced: the event loop does not hurry for it, sleeps, and runs it after whatever woke it up.
    this.#asleep = true;
    setImmediate(this.#turn).unref();
  }

  /** A request came: was it worth being awake, or would it have been worth staying awake longer? */
  #learn(): void {
    const waitedMs = performance.now() - this.#idleSinceMs;
    if (waitedMs > AWAKE_LIMIT_MS) this.#awakeLimitMs /= 2;
    else this.#awakeLimitMs = Math.min(AWAKE_LIMIT_MS, Math.max(this.#awakeLimitMs, AWAKE_START_MS, 3 * waitedMs));
  }
}
