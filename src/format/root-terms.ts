// By what terms whoever opens a root judges whether it may go on by itself.

import { bitCount } from "../base/bits.ts";
import { rootInSync, rootMinCopies } from "./root-block.ts";

export interface RootTerms {
  /** Bit per copy in sync. */
  readonly inSync: number;
  readonly minCopies: number;
}

export const rootTerms = (root: DataView): RootTerms => ({ inSync: rootInSync(root), minCopies: rootMinCopies(root) });

/** True when `copies`, a bit for each, may be mounted for writing by such a root without any other, and nobody is asked (I2). */
export function mayGoOnAlone({ inSync, minCopies }: RootTerms, copies: number): boolean {
  return bitCount(inSync & copies) >= Math.max(bitCount(inSync) - minCopies + 1, minCopies);
}
