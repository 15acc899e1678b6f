// Serves a session from the event loop: one turn takes what requests there are, and then either comes back at once, so that the
// next request meets an awake daemon, or lets the event loop sleep until something comes (see Wakeup and Wakefulness).
//
// Every turn passes through the event loop (about 0.6 µs), so promises, completions and timers never wait behind requests.
// With one CPU staying awake is never worth it: the program that would send the next request could not run.

import { availableParallelism } from "node:os";
import { performance } from "node:perf_hooks";
import type { Session } from "./session.ts";
import { Wakefulness } from "./wakefulness.ts";

/** Requests taken in one turn, while they are there; few when some wait for the event loop to bring them on. */
const BATCH = 32;
const BATCH_WITH_OTHERS_WAITING = 4;
/** While awake, how often a turn looks for a request before the event loop has its turn: a look costs half of what that costs. */
const LOOKS_AWAKE = 4;
const LOOKS_WITH_OTHERS_WAITING = 2;
/** The CPUs allowed may change while we run (taskset -p). */
const AFFINITY_CHECK_MS = 500;

export class ServeLoop {
  readonly #session: Session;
  readonly #wakefulness = new Wakefulness();
  readonly #turn = (): void => this.#run();
  #resolve: () => void = () => undefined;
  /** When there was nothing more to do. */
  #idleSinceMs = 0;
  /** How it came to this turn: from a request; without one, to look again; woken up by something. */
  #came: "serving" | "awake" | "asleep" = "serving";
  #severalCpus = false;
  #affinityCheckedMs = -Infinity;
  #stopped = false;

  constructor(session: Session) {
    this.#session = session;
  }

  /** Serves until the session is closed or `stop` is called. The descriptor must wake the event loop (see Wakeup). */
  run(): Promise<void> {
    return new Promise((resolve) => {
      this.#resolve = resolve;
      setImmediate(this.#turn);
    });
  }

  /** When it last had a request, by the monotonic clock. */
  get usedAtMs(): number {
    return this.#idleSinceMs;
  }

  /** Takes no further request; those in flight are still answered. */
  stop(): void {
    this.#stopped = true;
    setImmediate(this.#turn);
  }

  #run(): void {
    if (this.#stopped) return this.#resolve();
    const session = this.#session;
    session.beginTurn();
    let step = session.step();
    if (this.#came === "awake") {
      let looks = session.inFlight === 0 ? LOOKS_AWAKE : LOOKS_WITH_OTHERS_WAITING;
      while (step === "idle" && --looks > 0) step = session.step();
    }
    if (step === "served") {
      const waitedMs = performance.now() - this.#idleSinceMs;
      const batch = session.inFlight === 0 ? BATCH : BATCH_WITH_OTHERS_WAITING;
      let taken = 1;
      while (taken < batch && (step = session.step()) === "served") taken++;
      this.#idleSinceMs = performance.now();
      this.#wakefulness.served(taken, this.#idleSinceMs, waitedMs);
      this.#came = "serving";
    }
    switch (step) {
      case "served":
      case "full": // Only the event loop can bring on what frees a buffer.
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
      this.#severalCpus = availableParallelism() > 1;
    }
    if (this.#severalCpus && this.#came !== "asleep" && now - this.#idleSinceMs < this.#wakefulness.limitMs) {
      this.#came = "awake";
      setImmediate(this.#turn);
      return;
    }
    // Not referenced: the event loop does not hurry for it, sleeps, and runs it after whatever woke it up.
    this.#came = "asleep";
    setImmediate(this.#turn).unref();
  }
}
