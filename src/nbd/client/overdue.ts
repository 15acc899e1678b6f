// Watches over the requests of a link while there are any: one that waited too long ends the link; a server that says nothing
// may be slow, or the way there is cut, which is asked where there are other ways.

import type { Timer } from "../../base/clock.ts";
import type { Bundle } from "./bundle.ts";
import { Silence } from "./silence.ts";
import type { LinkOptions, Way } from "./way.ts";

/** Part of the time a request has after which silence is doubted. */
const DOUBT_PART = 8;
/** So many times while a request may wait it is looked how long it has waited. */
const LOOKS_PER_TIMEOUT = 20;

export interface Watched {
  /** When the oldest request without an answer was asked for; undefined when there is none. */
  readonly oldestMs: () => number | undefined;
  readonly connections: () => Bundle | undefined;
  readonly address: () => string;
  /** A request had no answer in all the time it may take. */
  readonly onOverdue: () => void;
  /** Nothing came by these connections for so long, and their address does not answer. */
  readonly onSilent: (silentMs: number) => void;
}

export class Overdue {
  readonly #way: Way;
  readonly #options: LinkOptions;
  readonly #watched: Watched;
  #silence: Silence;
  #doubting = false;
  #timer: Timer | undefined;

  constructor(way: Way, options: LinkOptions, watched: Watched) {
    this.#way = way;
    this.#options = options;
    this.#watched = watched;
    this.#silence = new Silence(options.clock);
  }

  /** New connections are in use. */
  begin(): void {
    this.#silence = new Silence(this.#options.clock);
  }

  /** Something waits for an answer. */
  watch(): void {
    const { policy, clock } = this.#options;
    this.#timer ??= clock.after(policy.timeoutMs / LOOKS_PER_TIMEOUT, () => {
      this.#timer = undefined;
      const oldestMs = this.#watched.oldestMs();
      if (oldestMs === undefined) return;
      const waitedMs = this.#nowMs - oldestMs;
      if (waitedMs >= policy.timeoutMs) return this.#watched.onOverdue();
      void this.#doubt(waitedMs);
      this.watch();
    });
  }

  end(): void {
    this.#timer?.cancel();
  }

  async #doubt(waitedMs: number): Promise<void> {
    const bundle = this.#watched.connections();
    if (bundle === undefined || this.#way.addresses.length < 2) return;
    const patienceMs = this.#options.policy.timeoutMs / DOUBT_PART;
    const sinceMs = this.#silence.since(bundle.receivedBytes);
    if (Math.min(waitedMs, this.#nowMs - sinceMs) < patienceMs || this.#doubting) return;
    this.#doubting = true;
    const answers = await this.#way.answers(this.#watched.address(), patienceMs);
    this.#doubting = false;
    if (answers || this.#watched.connections() !== bundle) return;
    if (this.#silence.since(bundle.receivedBytes) > sinceMs) return;
    this.#watched.onSilent(this.#nowMs - sinceMs);
  }

  get #nowMs(): number {
    return this.#options.clock.monotonicMs();
  }
}
