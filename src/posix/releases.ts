// Giving back what removed and truncated files held, step by step beside other requests. Every step is one operation,
// so a crash between two leaves a legal state that the next mount finishes.

import { setImmediate as turn } from "node:timers/promises";
import type { Operation, OperationResult } from "../ops/operation.ts";
import type { Eventually } from "../base/eventually.ts";

/** `release` removes an inode that nobody names or uses; `trim` frees what a file held past its end, whoever uses it. */
type Step = "release" | "trim";

interface Run {
  readonly step: Step;
  readonly done: Promise<void>;
}

export class Releases {
  readonly #apply: (operation: Operation) => Eventually<OperationResult>;
  readonly #running = new Map<number, Run>();

  constructor(apply: (operation: Operation) => Eventually<OperationResult>) {
    this.#apply = apply;
  }

  /** Resolves when all of it is done. The first step is taken at once, unless the inode is being trimmed and is to be removed. */
  run(step: Step, ino: number): Eventually<void> {
    const running = this.#running.get(ino);
    if (running === undefined) {
      const first = this.#apply({ op: step, ino });
      if (!(first instanceof Promise) && first.unfinished === undefined) return undefined;
      return this.#enter(step, ino, this.#steps(step, ino, first));
    }
    // What is being removed need not be trimmed.
    if (running.step === step || running.step === "release") return running.done;
    const trimmed = running.done.catch(() => undefined);
    return this.#enter(
      step,
      ino,
      trimmed.then(() => this.#steps(step, ino, this.#apply({ op: step, ino }))),
    );
  }

  /** As `run`, with nobody waiting. What fails stays marked on media and is taken up again by the next mount. */
  inBackground(step: Step, ino: number): void {
    try {
      const done = this.run(step, ino);
      if (done instanceof Promise) done.catch(() => undefined);
    } catch {
      // The volume has turned read-only, or the inode is damaged: nothing is lost but the space.
    }
  }

  /** Resolves when no release is under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled([...this.#running.values()].map(({ done }) => done));
  }

  #enter(step: Step, ino: number, work: Promise<void>): Promise<void> {
    const done = work.finally(() => {
      if (this.#running.get(ino) === run) this.#running.delete(ino);
    });
    const run: Run = { step, done };
    this.#running.set(ino, run);
    return done;
  }

  async #steps(step: Step, ino: number, first: Eventually<OperationResult>): Promise<void> {
    let result = await first;
    while (result.unfinished !== undefined) {
      await turn(); // Other requests get their turn between two steps.
      result = await this.#apply({ op: step, ino });
    }
  }
}
