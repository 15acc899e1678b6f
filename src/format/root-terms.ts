// By what whoever opens a root judges whether it may go on by itself.

import { rootInSync, rootMinCopies } from "./root-block.ts";

export interface RootTerms {
  /** Bit per copy in sync. */
  readonly inSync: number;
  readonly minCopies: number;
}

export const rootTerms = (root: DataView): RootTerms => ({ inSync: rootInSync(root), minCopies: rootMinCopies(root) });
