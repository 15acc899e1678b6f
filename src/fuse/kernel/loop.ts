// Serves a session from the event loop: one turn takes what requests there are, and then either comes back at once, so that the
// next request meets an awake daemon, or lets the event loop sleep until something comes (see Wakeup and Wakefulness).
//
// Every turn passes through the event loop (about 0.6 µs), so promises, completions and timers never wait behind requests.
// With one CPU staying awake is never worth it: the program that would send the next request could not run.
//
// While all request buffers are taken no request wakes the event loop: there is nothing to be done about one.

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

/** What wakes the event loop while requests wait. */
export interface Waking {
  pause(): void;
  resume(): void;
}

export class ServeLoop {
  readonly #session: Session;
  readonly #waking: Waking;
  readonly #wakefulness = new Wakefulness();
  readonly #turn = (): void => this.#takeTurn();
  #resolve: () => void = () => undefined;
  #reject: (error: unknown) => void = () => undefined;
  /** When there was nothing more to do. */
  #idleSinceMs = 0;
  /** How it came to this turn: from a request; without one, to look again; woken up by something. */
  #came: "serving" | "awake" | "asleep" = "serving";
  #severalCpus = false;
  #affinityCheckedMs = -Infinity;
  #stopped = false;

  /** `waking`: by the descriptor that the session reads from. */
  constructor(session: Session, waking: Waking) {
    this.#session = session;
    this.#waking = waking;
  }

  /** Serves until the session is closed or `stop` is called; rejects when it can't: then somebody else has to. */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
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

  /** Nothing would ever begin another turn after one that threw. */
  #takeTurn(): void {
    try {
      this.#run();
    } catch (error) {
      this.#stopped = true;
      this.#reject(error);
    }
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
        setImmediate(this.#turn);
        return;
      case "full":
        this.#waking.pause();
        session.whenRoom(() => {
          this.#waking.resume();
          setImmediate(this.#turn);
        });
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
