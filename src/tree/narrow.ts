// Which copies hold a block of file data written under copies=K (a narrow block): as many as K says, in sync if there are
// enough; members away make up the rest and are owed it (in a narrow ref only the missing bit means owed).
// A file keeps to the same copies while they have room, so that the loss of one copy takes whole files, not parts of all.

import { bitCount } from "../base/bits.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { RefFlag, refFlags, refKey, refMissing, refPointer } from "../format/blockref.ts";

/** How the data of one file is to be laid out. */
export interface Placement {
  /** Copies each block lies on; 0 for all. */
  readonly copies: number;
  /** The inode number: says with which copy to begin. */
  readonly seed: number;
}

/** What the choice of copies depends on, besides the placement. */
export interface CopyRoom {
  /** Ordinary room on a copy in KiB. */
  freeKib(copy: number): number;
}

export const isNarrow = (view: DataView, at: number): boolean => (refFlags(view, at) & RefFlag.NARROW) !== 0;

/** Bit per copy that has a place for the block. */
export function placedOn(view: DataView, at: number): number {
  let mask = 0;
  for (let copy = 0; copy < COPIES_MAX; copy++) if (refPointer(view, at, copy) !== 0) mask |= 1 << copy;
  return mask;
}

/** Bit per copy that is to hold a narrow block: those that have a place for it, and those that are owed it. */
export const holdersOf = (view: DataView, at: number): number => placedOn(view, at) | refMissing(view, at);

/** Where the block named there lies now, as a placement; undefined for one that belongs on every copy. */
export function placementOf(view: DataView, at: number): Placement | undefined {
  return isNarrow(view, at) ? { copies: bitCount(holdersOf(view, at)), seed: refKey(view, at) } : undefined;
}

/**
 * The copies of `candidates` in the order in which they are asked for room: round from the one the seed names, but those
 * with less than half the room of the emptiest come last.
 */
export function inOrder(candidates: number, seed: number, room: CopyRoom): number[] {
  const copies: number[] = [];
  for (let copy = 0; copy < COPIES_MAX; copy++) if ((candidates & (1 << copy)) !== 0) copies.push(copy);
  const first = copies.length === 0 ? 0 : seed % copies.length;
  const turned = [...copies.slice(first), ...copies.slice(0, first)];
  const most = turned.reduce((kib, copy) => Math.max(kib, room.freeKib(copy)), 0);
  const roomy = (copy: number): boolean => room.freeKib(copy) * 2 >= most;
  return [...turned.filter(roomy), ...turned.filter((copy) => !roomy(copy))];
}
