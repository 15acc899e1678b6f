// One epoch in the history of a root: a root of another copy is of our lineage only if the history covers it (I6).

import { declareStructure } from "./structure.ts";

/** Entries in the history of a root, the present epoch's included. */
export const HISTORY_ENTRIES = 64;

export const HISTORY_ENTRY = declareStructure("history-entry", 24, "One epoch of the volume's lineage.", [
  { name: "epoch", type: "uuid", meaning: "random id of the epoch; zero when the entry is unused" },
  { name: "sequence", type: "u64", meaning: "highest sequence issued in it" },
]);
