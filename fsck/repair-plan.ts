// What would put a finding right, as plain records. The checker only writes them down; fsck/repair.ts carries them out.

import type { RepairAction } from "../src/ops/repair.ts";
import type { Run } from "../src/walk/rules.ts";
import type { Bruise } from "./bruise.ts";

/** A block as its parent remembers it. */
export interface PlacedBlock {
  readonly pointers: readonly number[];
  readonly checkType: number;
  readonly check: Uint8Array;
  readonly sizeBytes: number;
  readonly metadata: boolean;
}

/** Rewrite one block on `copy` from a copy that has it. */
export interface BlockRepair extends PlacedBlock {
  readonly kind: "block";
  readonly copy: number;
}

/** A block is replaced by one whose blockrefs keep the rules. `givesUp`: what goes with that, unless a copy has it after all. */
export interface BruiseRepair {
  readonly kind: "bruise";
  readonly bruise: Bruise;
  readonly givesUp?: PlacedBlock;
}

export interface AnchorRepair {
  readonly kind: "anchor";
  readonly copy: number;
}

export type Repair =
  | BlockRepair
  /** Commits write fresh roots to every copy; three of them renew the ring. */
  | { readonly kind: "ring" }
  /** Opening the volume carries out what is in its log. */
  | { readonly kind: "log" }
  /** The anchor of a copy in sync is emptied. */
  | AnchorRepair
  /** The root counts its copies anew. */
  | { readonly kind: "count" }
  /** Node headers are written again from what the good ones say. */
  | { readonly kind: "headers" }
  /** The root's own refs to PFS blocks are made to keep the rules. */
  | { readonly kind: "super-root"; readonly run: Run }
  /** Bitmaps are computed from what is reachable. */
  | { readonly kind: "freemap" }
  /** Give an inode without a name one in lost+found. */
  | { readonly kind: "lost-and-found"; readonly ino: number }
  /** Go on releasing an unlinked or truncated file. */
  | { readonly kind: "release"; readonly ino: number }
  | BruiseRepair
  /** A described operation on the tree. */
  | { readonly kind: "action"; readonly action: RepairAction };

export const act = (action: RepairAction): Repair => ({ kind: "action", action });
