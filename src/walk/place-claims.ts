// Who named a place on one copy, and who was there first. A place that several refs name is read for a few of them, so that the one
// whose block it is can be told from those that are mistaken; more than that would let a crafted volume have one block read without
// end (I12). What hangs from a block is entered by one of them only.
// Three bits for each KiB that is named twice, one for each KiB of a block that was entered: memory is bounded by the size of the copy.

import { BlockClaims } from "./claims.ts";

/** How many refs beyond the first a place is read for. */
const READ_AGAIN_MAX = 3;

/** What a ref to a place is: the first, one of the few that are looked at nevertheless, or one too many. */
export type Claim = "first" | "again" | "too-many";

export class PlaceClaims {
  /** What was named at all. */
  readonly all = new BlockClaims();
  readonly #again = Array.from({ length: READ_AGAIN_MAX }, () => new BlockClaims());
  readonly #entered = new BlockClaims();

  /** Notes that a ref names this place. */
  claim(kib: number, sizeKib: number): Claim {
    if (this.all.claim(kib, sizeKib)) return "first";
    return this.#again.some((claims) => claims.claim(kib, sizeKib)) ? "again" : "too-many";
  }

  /** What hangs from the block here was entered. */
  enter(kib: number, sizeKib: number): void {
    this.#entered.claim(kib, sizeKib);
  }

  isEntered(kib: number, sizeKib: number): boolean {
    return this.#entered.overlaps(kib, sizeKib);
  }
}
