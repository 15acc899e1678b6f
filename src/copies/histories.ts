// Whether copies went different ways (I6), and where they parted: told from the roots on their rings alone.

import type { Uuid } from "../base/uuid.ts";
import { HISTORY_ENTRIES } from "../format/history-entry.ts";
import { rootInSync } from "../format/root-block.ts";
import { rootHistory } from "../format/root-history.ts";
import { newestRoot, standingOf } from "./choose-root.ts";
import { issuedIn } from "./lineage.ts";
import { type Ring, type RingRoot, ringRoots } from "./ring-slots.ts";

/** The last root that two copies have in common: the highest sequence issued in `epoch` that both know of. */
export interface Parting {
  readonly epoch: Uuid;
  readonly sequence: number;
}

/** The newest root on a ring if its copy is in sync by it: then the copy alone holds the volume as of that root. */
export function completeRoot(ring: Ring): RingRoot | undefined {
  const [newest] = ringRoots(ring);
  return newest !== undefined && (rootInSync(newest.view) & ring.copy.bit) !== 0 ? newest : undefined;
}

/** True when neither copy can be caught up to the other, because each holds roots the other's lineage never issued. */
export function wentApart(one: Ring, other: Ring): boolean {
  const newest = newestRoot([one, other]);
  if (newest === undefined) return false;
  return standingOf(newest.ring === one ? other : one, newest.root).standing === "divergent";
}

/** Where two histories parted; undefined when they have no epoch in common that both still remember. */
export function partingOf(one: DataView, other: DataView): Parting | undefined {
  for (let entry = 0; entry < HISTORY_ENTRIES; entry++) {
    const { epoch, sequence } = rootHistory(one, entry);
    if (epoch.every((byte) => byte === 0)) return undefined;
    const issued = issuedIn(other, epoch);
    if (issued !== undefined) return { epoch: epoch.slice(), sequence: Math.min(sequence, issued) };
  }
  return undefined;
}
