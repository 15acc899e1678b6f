// The root ring, from outside: reading it, choosing the root to go on from, writing the next.

export { chooseRoot, type MasterRule } from "./choose-root.ts";
export { emptyRing, newRings, readRings, RingSet, wipeRing } from "./ring-set.ts";
export { type Ring, type RingFindingKind, type RingRoot, ringRoots } from "./ring-slots.ts";
