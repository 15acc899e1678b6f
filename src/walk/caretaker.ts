// Looks after the copies of a mounted volume: takes back those that returned, has each caught up, and clears up behind a
// copy that joined. Works beside requests; everything it does survives being stopped at any point (I8).

import type { Clock } from "../base/clock.ts";
import type { Copy } from "../copies/copy.ts";
import type { Ring } from "../copies/ring.ts";
import type { Volume } from "../volume/volume.ts";
import { Pace } from "./pace.ts";
import { Resync, type ResyncEnd, type ResyncProgress } from "./resync.ts";
import { releaseAnchor, takeBack, type TakeBackOptions } from "./take-back.ts";

export interface CaretakerOptions {
  readonly clock: Clock;
  /** Most bytes a second that a resync moves; 0 for no bound. */
  readonly resyncBytesPerSecond?: number;
  /** Told in one line what became of a copy. */
  readonly onNote?: (line: string) => void;
}

/** How the catching up of one copy goes, or went. */
export interface CatchUp {
  readonly copyIndex: number;
  readonly startedMs: number;
  endedMs: number | undefined;
  readonly progress: Readonly<ResyncProgress>;
  /** Undefined while it goes on. */
  end: ResyncEnd | "failed" | undefined;
}

export class Caretaker {
  readonly #volume: Volume;
  readonly #clock: Clock;
  readonly #pace: Pace;
  readonly #note: (line: string) => void;
  readonly #resyncs = new Map<number, { readonly resync: Resync; readonly over: Promise<void> }>();
  readonly #catchUps = new Map<number, CatchUp>();
  readonly #under = new Set<Promise<void>>();
  #closed = false;

  constructor(volume: Volume, options: CaretakerOptions) {
    this.#volume = volume;
    this.#clock = options.clock;
    this.#pace = new Pace(options.clock, options.resyncBytesPerSecond ?? 0);
    this.#note = options.onNote ?? (() => undefined);
    volume.members.onEvent = ({ copyIndex, what, detail }) => this.#note(`copy ${copyIndex} ${what}: ${detail}`);
    volume.members.onJoined = (copy) => this.#begin(() => this.#clearUp(copy));
  }

  /** Takes back every copy that is at hand and not in sync, unless the operator took it out. */
  start(): void {
    for (const ring of this.#volume.rings.rings) {
      const { standing } = ring.copy;
      if (standing === "in-sync" && ring.anchor !== undefined) this.#begin(() => this.#clearUp(ring.copy));
      if (standing === "stale" || standing === "unknown" || standing === "blank") {
        this.#begin(() => this.takeBack(ring));
      }
    }
  }

  /** How each copy's catching up goes, by index. */
  get catchUps(): ReadonlyMap<number, CatchUp> {
    return this.#catchUps;
  }

  /** Takes one copy back and begins to catch it up; resolves once it is being caught up. */
  async takeBack(ring: Ring, options: TakeBackOptions = {}): Promise<void> {
    await takeBack(this.#volume, ring, options);
    this.#note(`copy ${ring.copy.index} returned: it is being caught up`);
    this.#begin(() => this.#catchUp(ring.copy));
  }

  /** Stops catching up one copy; resolves when nothing of that is under way any more. */
  async stop(copyIndex: number): Promise<void> {
    const under = this.#resyncs.get(copyIndex);
    under?.resync.stop();
    await under?.over;
  }

  async #catchUp(copy: Copy): Promise<void> {
    if (this.#closed) return;
    const resync = new Resync(this.#volume, copy, this.#pace);
    const catchUp: CatchUp = {
      copyIndex: copy.index,
      startedMs: this.#clock.monotonicMs(),
      endedMs: undefined,
      progress: resync.progress,
      end: undefined,
    };
    this.#catchUps.set(copy.index, catchUp);
    const running = resync.run();
    const over = running.then(
      () => undefined,
      () => undefined,
    );
    this.#resyncs.set(copy.index, { resync, over });
    try {
      catchUp.end = await running;
    } catch (error) {
      catchUp.end = "failed";
      throw error;
    } finally {
      catchUp.endedMs = this.#clock.monotonicMs();
      this.#resyncs.delete(copy.index);
    }
    if (catchUp.end === "no-room") {
      this.#note(
        `copy ${copy.index} has no room for what it lacks beside its last complete state; h2ts online --no-anchor gives that up`,
      );
    }
  }

  /** The copy is in sync: its last complete state need not be kept any more. */
  async #clearUp(copy: Copy): Promise<void> {
    await this.#volume.rings.clearAnchor(copy);
    await releaseAnchor(this.#volume, copy.index);
  }

  #begin(work: () => Promise<void>): void {
    if (this.#closed) return;
    const done: Promise<void> = work()
      .catch((error: unknown) => this.#note(error instanceof Error ? error.message : String(error)))
      .finally(() => this.#under.delete(done));
    this.#under.add(done);
  }

  /** Resolves when nothing is being caught up or cleared up. */
  async settled(): Promise<void> {
    while (this.#under.size > 0) await Promise.all(this.#under);
  }

  /** Stops all work after the step under way; it goes on by itself at the next mount. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const { resync } of this.#resyncs.values()) resync.stop();
    this.#pace.release();
    await this.settled();
  }
}
