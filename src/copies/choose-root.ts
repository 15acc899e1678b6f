// Which of all roots at hand is the volume's: the newest of one lineage, if it is sure that none newer is hidden.
// Invariants: I4 (a copy whose newest root is one commit behind only missed the end of a root write: its blocks were
// flushed), I6 (copies of other epochs are told apart by history, never by time, and are never joined silently).
// Bringing a stale copy back is later work; for now it is refused by name, as a missing one is.

import { equalBytes, formatUuid } from "../base/uuid.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import {
  HISTORY_ENTRIES,
  rootCounters,
  rootEpoch,
  rootHistory,
  rootInSync,
  rootLastSeen,
} from "../format/root-block.ts";
import { CopiesError } from "./errors.ts";
import { type Ring, type RingFinding, type RingRoot, ringRoots } from "./ring-slots.ts";
import type { RingSet } from "./ring-set.ts";

export interface ChosenRoot {
  readonly copyIndex: number;
  /** Verified; belongs to whoever asked for it. */
  readonly image: Uint8Array;
  readonly sequence: number;
  /** Highest sequence of any verified root, the anchors' included. */
  readonly highestSequence: number;
  /** All other valid roots of all rings and anchors, each content once: what they name may not be reused yet (I3). */
  readonly olderImages: readonly Uint8Array[];
  readonly findings: readonly RingFinding[];
}

/** Chooses the root to go on from; the copies go on counting errors from what it remembers. Throws CopiesError that names the copy at fault and what to do. */
export function chooseRoot(rings: RingSet): ChosenRoot {
  const volume = `volume ${formatUuid(rings.copies.volumeUuid)}`;
  let newest: RingRoot | undefined;
  let newestRing: Ring | undefined;
  for (const ring of rings.rings) {
    for (const root of ringRoots(ring)) {
      if (newest !== undefined && root.sequence <= newest.sequence) continue;
      newest = root;
      newestRing = ring;
    }
  }
  if (newest === undefined || newestRing === undefined) {
    throw new CopiesError("no-root", volume, "no valid root block on any copy; the volume can't be opened");
  }
  for (const ring of rings.rings) judge(ring, newestRing, newest);
  refuseMissing(rings, newest, volume);
  for (const { copy } of rings.rings) copy.restoreCounters(rootCounters(newest.view, copy.index));
  const older = new Map<string, Uint8Array>();
  let highestSequence = newest.sequence;
  for (const ring of rings.rings) {
    const roots = ringRoots(ring);
    if (ring.anchor !== undefined) roots.push(ring.anchor);
    for (const root of roots) {
      highestSequence = Math.max(highestSequence, root.sequence);
      if (root.sequence === newest.sequence) continue;
      older.set(`${root.sequence} ${formatUuid(rootEpoch(root.view))}`, root.image);
    }
  }
  return {
    copyIndex: newestRing.copy.index,
    image: newest.image.slice(),
    sequence: newest.sequence,
    highestSequence,
    olderImages: [...older.values()],
    findings: rings.rings.flatMap((ring) => ring.findings),
  };
}

/** Refuses a copy that can't be used as it is beside the newest root. */
function judge(ring: Ring, newestRing: Ring, newest: RingRoot): void {
  const [own] = ringRoots(ring);
  const name = `${ring.copy.name} (copy ${ring.copy.index})`;
  if (own === undefined) {
    throw new CopiesError(
      "no-root",
      name,
      "has no valid root block; it can't be used until it is brought back by a resync",
    );
  }
  const epoch = rootEpoch(newest.view);
  const ownEpoch = rootEpoch(own.view);
  if (!equalBytes(epoch, ownEpoch)) {
    if (!wasIssued(newest, ownEpoch, own.sequence)) {
      throw new CopiesError(
        "divergent",
        name,
        `holds root ${own.sequence} of another history than root ${newest.sequence} on ${newestRing.copy.name}; use one of them alone`,
      );
    }
    throw stale(name, own, newest);
  }
  if (own.sequence === newest.sequence) return;
  // A root is written only when the one before is durable on every copy, so an honest copy is one behind at most.
  const before = ringRoots(newestRing)[1];
  const least = before?.sequence ?? newest.sequence - 1;
  if (own.sequence < least) throw stale(name, own, newest);
}

function stale(name: string, own: RingRoot, newest: RingRoot): CopiesError {
  return new CopiesError(
    "stale",
    name,
    `is stale: its newest root is ${own.sequence}, the volume's is ${newest.sequence}; it needs a resync`,
  );
}

/** True when the lineage of `newest` issued `sequence` in `epoch`. */
function wasIssued(newest: RingRoot, epoch: Uint8Array, sequence: number): boolean {
  for (let entry = 0; entry < HISTORY_ENTRIES; entry++) {
    const known = rootHistory(newest.view, entry);
    if (equalBytes(known.epoch, epoch)) return sequence <= known.sequence;
  }
  return false;
}

/** Every copy the newest root knows must be here, with the size it had. */
function refuseMissing(rings: RingSet, newest: RingRoot, volume: string): void {
  for (let index = 0; index < COPIES_MAX; index++) {
    const copy = rings.copies.copy(index);
    const seen = rootLastSeen(newest.view, index);
    if (seen === undefined) {
      if (copy !== undefined)
        throw new CopiesError("mixed", copy.name, `is copy ${index}, which the volume does not know (any more)`);
      continue;
    }
    if (copy === undefined) {
      const where = seen.target === "" ? "" : `, last seen at ${seen.target}`;
      const role = (rootInSync(newest.view) & (1 << index)) === 0 ? "" : " and in sync";
      throw new CopiesError("missing-copy", volume, `copy ${index} is missing${where}${role}; give its target too`);
    }
    if (!equalBytes(copy.uuid, seen.copyUuid)) {
      throw new CopiesError(
        "mixed",
        copy.name,
        `is not the copy ${index} the volume knows (${formatUuid(seen.copyUuid)})`,
      );
    }
    if (copy.sizeKib !== seen.sizeKib) {
      throw new CopiesError(
        "wrong-row",
        copy.name,
        `copy ${index} is ${copy.sizeKib} KiB, the volume knows ${seen.sizeKib} KiB`,
      );
    }
  }
}
