// Sequence, epoch and history of a root. The history holds the present epoch and its ancestors, newest first, each with the
// highest sequence issued in it; its first entry always tells of the present.
// Invariant: I6.

import { readU64, writeU64 } from "../base/integers.ts";
import type { Uuid } from "../base/uuid.ts";
import { bytesAt } from "../base/view-bytes.ts";
import { HISTORY_ENTRIES, HISTORY_ENTRY } from "./history-entry.ts";
import { ROOT_BLOCK, rootEpoch, rootSequence } from "./root-block.ts";
import { offsetOf } from "./structure.ts";

const SEQUENCE = offsetOf(ROOT_BLOCK, "sequence");
const HISTORY = offsetOf(ROOT_BLOCK, "history");
const ENTRY_EPOCH = offsetOf(HISTORY_ENTRY, "epoch");
const ENTRY_SEQUENCE = offsetOf(HISTORY_ENTRY, "sequence");

/** Sets the sequence, and with it the highest sequence issued in the present epoch. */
export function setRootSequence(v: DataView, sequence: number): void {
  writeU64(v, SEQUENCE, sequence);
  writeU64(v, HISTORY + ENTRY_SEQUENCE, sequence);
}

/** Begins a new epoch: the history moves down by one, its oldest entry is forgotten. */
export function beginRootEpoch(v: DataView, epoch: Uuid): void {
  const history = bytesAt(v, HISTORY, HISTORY_ENTRIES * HISTORY_ENTRY.sizeBytes);
  history.copyWithin(HISTORY_ENTRY.sizeBytes, 0, history.length - HISTORY_ENTRY.sizeBytes);
  history.set(epoch, ENTRY_EPOCH);
  writeU64(v, HISTORY + ENTRY_SEQUENCE, rootSequence(v));
  rootEpoch(v).set(epoch);
}

/** Highest sequence issued in the `entry`-th newest epoch, and that epoch. */
export function rootHistory(v: DataView, entry: number): { epoch: Uuid; sequence: number } {
  const at = HISTORY + entry * HISTORY_ENTRY.sizeBytes;
  return { epoch: bytesAt(v, at + ENTRY_EPOCH, 16), sequence: readU64(v, at + ENTRY_SEQUENCE) };
}
