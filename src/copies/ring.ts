// The root ring, from outside: reading it, choosing the root to go on from, writing the next.

export { type ChoosePolicy, type ChosenRoot, chooseRoot, type MasterRule } from "./choose-root.ts";
export { emptyRing, newRings, readRings, RingSet, wipeRing } from "./ring-set.ts";
export { type Ring, type RingFinding, type RingFindingKind, type RingRoot, readRing, ringRoots } from "./ring-slots.ts";
