// Where a copy stands towards the volume's root, told from roots alone: epochs, the history of sequences issued in each,
// and what was last seen of the copy. No wall clock decides anything.
// Invariant I6: stale copies are brought back by a resync, unknown ones are revalidated block by block, divergent ones wait
// for the operator. A root that was begun and never finished (its copy got it, others of its in-sync set did not) was
// never acknowledged: it counts as stale, not as another history.

import { equalBytes, formatUuid } from "../base/uuid.ts";
import { HISTORY_ENTRIES } from "../format/history-entry.ts";
import { rootEpoch, rootInSync, rootSequence } from "../format/root-block.ts";
import { rootHistory } from "../format/root-history.ts";
import { rootLastSeen } from "../format/root-members.ts";
import { nextVersion, type Ring, type RingRoot, ringRoots } from "./ring-slots.ts";

/** How one root stands towards another. `ahead`: of an epoch the other continued, but issued after it had gone on. */
export type Kinship = "same" | "ancestor" | "ahead" | "descendant" | "forgotten" | "divergent";

/** Highest sequence issued in `epoch` by the lineage of `view`; undefined when its history does not name the epoch. */
export function issuedIn(view: DataView, epoch: Uint8Array): number | undefined {
  for (let entry = 0; entry < HISTORY_ENTRIES; entry++) {
    const known = rootHistory(view, entry);
    if (equalBytes(known.epoch, epoch)) return known.sequence;
  }
  return undefined;
}

/** What `other` is, seen from `root`. */
export function kinship(root: DataView, other: DataView): Kinship {
  const sequence = rootSequence(other);
  const issued = issuedIn(root, rootEpoch(other));
  if (issued !== undefined) {
    if (equalBytes(rootEpoch(root), rootEpoch(other))) {
      if (sequence === rootSequence(root)) return "same";
      if (sequence > rootSequence(root)) return "descendant";
    }
    if (sequence <= issued) return "ancestor";
    return "ahead";
  }
  const known = issuedIn(other, rootEpoch(root));
  if (known !== undefined) return rootSequence(root) <= known ? "descendant" : "divergent";
  const oldest = rootHistory(root, HISTORY_ENTRIES - 1);
  return sequence < oldest.sequence ? "forgotten" : "divergent";
}

/**
 * True when the newest root of `ring` was begun just when `root`'s lineage went on without it: it is the only one of its
 * ring that was not issued, and a copy that had to have it for it to be acknowledged is in sync here and has it not.
 */
export function isUnfinished(ring: Ring, root: DataView): boolean {
  const [own, before] = ringRoots(ring);
  if (own === undefined || before === undefined || kinship(root, own.view) !== "ahead") return false;
  return (rootInSync(own.view) & rootInSync(root)) !== 0 && kinship(root, before.view) === "ancestor";
}

/** True when the newest root of `ring` is of a history that `root` does not go on from, and was not just begun and left behind. */
export function hasParted(ring: Ring, root: DataView): boolean {
  const [own] = ringRoots(ring);
  if (own === undefined || isUnfinished(ring, root)) return false;
  const kin = kinship(root, own.view);
  return kin === "divergent" || kin === "ahead" || kin === "descendant";
}

/**
 * True when the newest root of `ring` is `root`, or the one before it: then it missed only the last root write (I1), or was
 * rolled back by one commit, which its roots don't tell (src/volume/rolled-back.ts does).
 */
export function isUpToDate(ring: Ring, root: RingRoot): boolean {
  const seen = rootLastSeen(root.view, ring.copy.index);
  const [own] = ringRoots(ring);
  if (seen === undefined || own === undefined) return false;
  // Versions follow from those before them: another history that went on for as many roots has the same.
  const isOwn = equalBytes(seen.epoch, rootEpoch(own.view)) && equalBytes(seen.version, own.version);
  return (seen.sequence === own.sequence && isOwn) || isOneBehind(ring, root.view);
}

/** True when the newest root of `ring` is the one before the root it was last seen with, as the root `view` says. */
export function isOneBehind(ring: Ring, view: DataView): boolean {
  const seen = rootLastSeen(view, ring.copy.index);
  const [own] = ringRoots(ring);
  if (seen === undefined || own === undefined) return false;
  return own.sequence < seen.sequence && equalBytes(nextVersion(ring), seen.version);
}

/**
 * The newest root on the ring, or its anchor, that was complete on its own copy; with `lineage`, one that was issued in it
 * if there is any.
 */
export function lastComplete(ring: Ring, lineage?: DataView): RingRoot | undefined {
  const complete = ringRoots(ring).filter((root) => (rootInSync(root.view) & ring.copy.bit) !== 0);
  if (ring.anchor !== undefined) complete.push(ring.anchor);
  complete.sort((a, b) => b.sequence - a.sequence);
  if (lineage === undefined) return complete[0];
  const issued = complete.find((root) => ["same", "ancestor"].includes(kinship(lineage, root.view)));
  return issued ?? complete[0];
}

/** "epoch 1a2b3c4d up to root 17, …", newest first: for people who have to choose between two histories. */
export function describeHistory(view: DataView, entries = 4): string {
  const parts: string[] = [];
  for (let entry = 0; entry < Math.min(entries, HISTORY_ENTRIES); entry++) {
    const { epoch, sequence } = rootHistory(view, entry);
    if (epoch.every((byte) => byte === 0)) break;
    parts.push(`epoch ${formatUuid(epoch).slice(0, 8)} up to root ${sequence}`);
  }
  return parts.join(", ");
}
