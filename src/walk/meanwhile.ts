// To bring a copy back takes a while, and so does a new node for it: the operator's word may come meanwhile. What was said
// last of a copy counts, so whoever goes on looks first whether it still is what it was.
// Invariant I1: a copy that leaves is owed nothing since then, so it may never be caught up.

import type { Copy } from "../copies/copy.ts";
import { CopiesError } from "../copies/errors.ts";
import type { Volume } from "../volume/volume.ts";

/** What was said of a copy last when something was begun with it. */
export class LastWord {
  readonly #volume: Volume;
  readonly #index: number;
  readonly #timesTakenOut: number;

  constructor(volume: Volume, index: number) {
    this.#volume = volume;
    this.#index = index;
    this.#timesTakenOut = volume.members.timesTakenOut(index);
  }

  /** Throws CopiesError when it was taken out or is being detached since, or is not `copy`, the one that was begun with. */
  refuseOther(copy: Copy | undefined): void {
    const { members, copies } = this.#volume;
    refuseLeaving(this.#volume, this.#index);
    if (copies.copy(this.#index) === copy && members.timesTakenOut(this.#index) === this.#timesTakenOut) return;
    throw changedMeanwhile(copy?.name ?? `copy ${this.#index}`);
  }
}

/** Throws CopiesError for a copy that is being detached, or has left. */
export function refuseLeaving({ members, copies }: Volume, index: number): void {
  const name = copies.copy(index)?.name ?? `copy ${index}`;
  if ((members.all & (1 << index)) === 0)
    throw new CopiesError("no-copy", name, `there is no copy ${index} (any more)`);
  if ((members.leaving & (1 << index)) === 0) return;
  throw new CopiesError(
    "leaving",
    name,
    `copy ${index} is being detached; when it has left, h2ts attach takes a medium anew`,
  );
}

export const changedMeanwhile = (name: string): CopiesError =>
  new CopiesError("busy", name, "something else was done with the copy meanwhile; look at h2ts status");
