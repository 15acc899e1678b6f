// Giving back what removed and truncated files held, step by step beside other requests. Every step is one operation,
// so a crash between two leaves a legal state that the next mount finishes.

import { setImmediate as turn } from "node:timers/promises";
import type { Operation, OperationResult } from "../ops/operation.ts";
import type { Eventually } from "./requests.ts";

export class Releases {
  readonly #apply: (operation: Operation) => Eventually<OperationResult>;
  readonly #running = new Map<number, Promise<void>>();

  constructor(apply: (operation: Operation) => Eventually<OperationResult>) {
    this.#apply = apply;
  }

  /** Releases what is to be released of `ino`; resolves when it is done. The first step is taken at once. */
  release(ino: number): Eventually<void> {
    const running = this.#running.get(ino);
    if (running !== undefined) return running;
    const first = this.#apply({ op: "release", ino });
    if (!(first instanceof Promise) && first.unfinished === undefined) return undefined;
    const steps = this.#steps(ino, first).finally(() => this.#running.delete(ino));
    this.#running.set(ino, steps);
    return steps;
  }

  /** As `release`, with nobody waiting. What fails stays marked on media and is taken up again by the next mount. */
  releaseInBackground(ino: number): void {
    try {
      const done = this.release(ino);
      if (done instanceof Promise) done.catch(() => undefined);
    } catch {
      // The volume has turned read-only, or the inode is damaged: nothing is lost but the space.
    }
  }

  /** Resolves when no release is under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.values());
  }

  async #steps(ino: number, first: Eventually<OperationResult>): Promise<void> {
    let result = await first;
    while (result.unfinished !== undefined) {
      await turn(); // Other requests get their turn between two steps.
      result = await this.#apply({ op: "release", ino });
    }
  }
}
