// Bugs that more than one test plants, to see that it would notice them. Whoever plants one restores all mocks afterwards.

import { vi } from "vitest";
import { BlockStore } from "../../src/tree/store.ts";

/** Places of early blocks are free at once, although a record in the log names them (I3). */
export function freeLoggedAtOnce(): void {
  for (const method of ["release", "edit", "resize"] as const) {
    const real = BlockStore.prototype[method] as (this: BlockStore, ...args: unknown[]) => never;
    vi.spyOn(BlockStore.prototype, method).mockImplementation(function (this: BlockStore, ...args: unknown[]) {
      const { logged } = this;
      this.logged = false;
      try {
        return real.apply(this, args);
      } finally {
        this.logged = logged;
      }
    });
  }
}
