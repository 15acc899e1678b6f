// Giving back what removed and truncated files held, step by step beside other requests. Every step is one operation,
// so a crash between two leaves a legal state that the next mount finishes. However many files are being given back, a turn of
// the event loop has room for one step beyond the first ones, which requests pay for.

import type { Operation, OperationResult } from "../ops/operation.ts";
import type { Eventually } from "../base/eventually.ts";

/** `release` removes an inode that nobody names or uses; `trim` frees what a file held past its end, whoever uses it. */
type Step = "release" | "trim";

/** Steps that may wait at a time, for blocks or for a commit: what they waited for may come to all of them in one turn. */
const WAITING_MAX = 4;

interface Run {
  readonly step: Step;
  readonly done: Promise<void>;
  readonly place: Place;
}

/** Where a run stands among the others. */
interface Place {
  /** Somebody waits for the run: it goes before those that nobody waits for, and whatever they wait for. */
  awaited: boolean;
}

export class Releases {
  readonly #apply: (operation: Operation) => Eventually<OperationResult>;
  readonly #running = new Map<number, Run>();
  readonly #turns = new Turns();

  constructor(apply: (operation: Operation) => Eventually<OperationResult>) {
    this.#apply = apply;
  }

  /** Resolves when all of it is done. The first step is taken at once, unless the inode is being trimmed and is to be removed. */
  run(step: Step, ino: number): Eventually<void> {
    return this.#run(step, ino, true);
  }

  /** As `run`, with nobody waiting. What fails stays marked on media and is taken up again by the next mount. */
  inBackground(step: Step, ino: number): void {
    try {
      const done = this.#run(step, ino, false);
      if (done instanceof Promise) done.catch(() => undefined);
    } catch {
      // The volume has turned read-only, or the inode is damaged: nothing is lost but the space.
    }
  }

  /** Resolves when no release is under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled([...this.#running.values()].map(({ done }) => done));
  }

  #run(step: Step, ino: number, awaited: boolean): Eventually<void> {
    const running = this.#running.get(ino);
    const place: Place = { awaited };
    if (running === undefined) {
      const first = this.#apply({ op: step, ino });
      if (!(first instanceof Promise) && first.unfinished === undefined) return undefined;
      return this.#enter(step, ino, place, this.#steps(step, ino, place, first));
    }
    if (awaited) this.#turns.hurry(running.place);
    // What is being removed need not be trimmed.
    if (running.step === step || running.step === "release") return running.done;
    const trimmed = running.done.catch(() => undefined);
    return this.#enter(
      step,
      ino,
      place,
      trimmed.then(() => this.#steps(step, ino, place, this.#apply({ op: step, ino }))),
    );
  }

  #enter(step: Step, ino: number, place: Place, work: Promise<void>): Promise<void> {
    const done = work.finally(() => {
      if (this.#running.get(ino) === run) this.#running.delete(ino);
    });
    const run: Run = { step, done, place };
    this.#running.set(ino, run);
    return done;
  }

  async #steps(step: Step, ino: number, place: Place, first: Eventually<OperationResult>): Promise<void> {
    let result = await first;
    while (result.unfinished !== undefined) {
      result = await this.#turns.inTurn(place, () => this.#apply({ op: step, ino }));
    }
  }
}

/** Gives one step its turn in each turn of the event loop: of a run that is awaited, otherwise of the one that came first. */
class Turns {
  readonly #queue: { readonly place: Place; readonly begin: () => void }[] = [];
  /** Steps begun and not over. */
  #underWay = 0;
  #isPlanned = false;

  async inTurn<T>(place: Place, step: () => Eventually<T>): Promise<T> {
    await new Promise<void>((begin) => {
      this.#queue.push({ place, begin });
      this.#plan();
    });
    try {
      return await step();
    } finally {
      this.#underWay--;
      this.#plan();
    }
  }

  /** Somebody waits for that run from now on. */
  hurry(place: Place): void {
    place.awaited = true;
    this.#plan();
  }

  /** Index of the next in the queue; -1 while none may begin. */
  #next(): number {
    const awaited = this.#queue.findIndex(({ place }) => place.awaited);
    if (awaited >= 0 || this.#underWay >= WAITING_MAX) return awaited;
    return this.#queue.length > 0 ? 0 : -1;
  }

  #plan(): void {
    if (this.#isPlanned || this.#next() < 0) return;
    this.#isPlanned = true;
    setImmediate(() => {
      this.#isPlanned = false;
      const [next] = this.#queue.splice(this.#next(), 1);
      this.#underWay++;
      next?.begin();
      this.#plan();
    });
  }
}
