// Finding room for one block: on every copy that takes new blocks, or, for file data under copies=K, on as many as that says.
// Invariants: I8 (what a narrow block is owed stands in its missing bits), I10 (a copy that must hold a block and has no room
// refuses the operation, and nothing is taken then).

import { bitCount } from "../base/bits.ts";
import { assert } from "../base/assert.ts";
import { RefFlag, setRefFlags, setRefMissing, setRefPointer } from "../format/blockref.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { type Claim, type Freemap, NO_ROOM } from "../freemap/freemap.ts";
import type { ChangeSet } from "./change-set.ts";
import { NoSpace } from "./miss.ts";
import { holdersOf, inOrder, isNarrow, type Placement } from "./narrow.ts";

/** The copies as the store sees them: a bit per copy in each mask. */
export interface PlacingCopies {
  readonly freemaps: readonly (Freemap | undefined)[];
  readonly targets: number;
  readonly required: number;
  readonly inSync: number;
  readonly owing: number;
  readonly claim: Claim;
  full: number;
}

export class Placing {
  readonly #copies: PlacingCopies;
  readonly #changes: ChangeSet;
  /** KiB on each copy of the block being placed, 0 for none. */
  readonly #places = new Array<number>(COPIES_MAX).fill(0);
  /** Bit per copy that the block being placed is owed to; undefined unless it is narrow. */
  #narrowOwed: number | undefined;

  constructor(copies: PlacingCopies, changes: ChangeSet) {
    this.#copies = copies;
    this.#changes = changes;
  }

  /**
   * Takes room on every copy, or on those that a narrow block goes to, for `point` to enter. Throws NoSpace or MISS; no ref
   * and no block was changed then.
   */
  allocate(sizeKib: number, placement: Placement | undefined): void {
    this.#places.fill(0);
    this.#narrowOwed = undefined;
    if (placement !== undefined && this.#narrows(placement)) return this.#allocateNarrow(sizeKib, placement);
    const { targets, required } = this.#copies;
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      if ((targets & (1 << copy)) === 0 || this.#take(copy, sizeKib)) continue;
      if ((required & (1 << copy)) !== 0) this.#noRoom(copy, sizeKib);
      this.#copies.full |= 1 << copy;
    }
  }

  /** Enters the room just taken into the ref of a dirty block. */
  point(view: DataView, at: number): void {
    for (let copy = 0; copy < COPIES_MAX; copy++) setRefPointer(view, at, copy, this.#places[copy] as number);
    const narrow = this.#narrowOwed !== undefined;
    if (narrow || isNarrow(view, at)) setRefMissing(view, at, this.#narrowOwed ?? 0);
    setRefFlags(view, at, narrow ? RefFlag.DIRTY | RefFlag.NARROW : RefFlag.DIRTY);
  }

  /** True when a block that could be changed in place lies on another number of copies than it should from now on. */
  isMisplaced(view: DataView, at: number, placement: Placement | undefined): boolean {
    if (placement === undefined || (placement.copies === 0 && !isNarrow(view, at))) return false;
    if (!this.#narrows(placement)) return isNarrow(view, at);
    return !isNarrow(view, at) || bitCount(holdersOf(view, at)) !== placement.copies;
  }

  /** True when fewer copies are asked for than the volume has. */
  #narrows({ copies }: Placement): boolean {
    return copies > 0 && copies < bitCount(this.#copies.inSync | this.#copies.owing);
  }

  /** Copies in sync come first; where they are too few, others make up the number and are owed what they can't be given. */
  #allocateNarrow(sizeKib: number, { copies, seed }: Placement): void {
    const { inSync, owing, targets } = this.#copies;
    const room = { freeKib: (copy: number) => this.#freemap(copy).freeKib };
    let left = copies;
    let full = 0;
    for (const copy of inOrder(inSync, seed, room)) {
      if (left === 0) break;
      if (this.#take(copy, sizeKib)) left--;
      else full = copy;
    }
    if (left > Math.max(0, copies - bitCount(inSync))) this.#noRoom(full, sizeKib);
    this.#narrowOwed = 0;
    for (const copy of inOrder(owing, seed, room)) {
      if (left === 0) break;
      left--;
      if ((targets & (1 << copy)) === 0 || !this.#take(copy, sizeKib)) this.#narrowOwed |= 1 << copy;
    }
  }

  /** Takes room on one copy; false when it has none. */
  #take(copy: number, sizeKib: number): boolean {
    const kib = this.#freemap(copy).allocate(sizeKib, this.#copies.claim);
    if (kib === NO_ROOM) return false;
    this.#changes.allocated.push({ copy, kib, sizeKib });
    this.#places[copy] = kib;
    return true;
  }

  /** Gives back what other copies had room for, since an operation may go on with a smaller block. */
  #noRoom(copy: number, sizeKib: number): never {
    for (const [other, kib] of this.#places.entries()) {
      if (kib !== 0) this.#changes.freedNow.push({ copy: other, kib, sizeKib });
    }
    throw new NoSpace(`no room on copy ${copy}`);
  }

  #freemap(copy: number): Freemap {
    const freemap = this.#copies.freemaps[copy];
    assert(freemap !== undefined, `copy ${copy} has no allocator`);
    return freemap;
  }
}
