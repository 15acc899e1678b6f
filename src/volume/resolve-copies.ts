// Two copies went different ways and the operator chose (I6): what is only on the one discarded is given up for good. Its
// ring and anchor are wiped, so that it holds no state of the volume any more; at the next mount it is a blank copy, which is
// revalidated and caught up. Nothing is wiped before the other is known to hold the whole volume by itself, and nobody else
// writes to either meanwhile (I11). Cut short, it has left the copy divergent: run it again.

import { SystemRandom } from "../base/random.ts";
import { equalBytes } from "../base/uuid.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { allWithinDeadline } from "../copies/deadline.ts";
import { CopiesError } from "../copies/errors.ts";
import { Heartbeat } from "../copies/heartbeat.ts";
import { completeRoot, wentApart } from "../copies/histories.ts";
import { readRings, type Ring, type RingSet, ringRoots, wipeRing } from "../copies/ring.ts";
import { rootLastSeen } from "../format/root-members.ts";

/**
 * Gives up what copy `discard` has and copy `keep` has not. The volume must not be mounted. Throws CopiesError when there is
 * nothing to resolve or `keep` does not hold the whole volume, with nothing changed; DeviceError when `discard` can't be wiped.
 */
export async function resolveCopies(copies: CopySet, keep: number, discard: number): Promise<void> {
  if (keep === discard) throw new CopiesError("syntax", `copy ${keep}`, "can't be kept and discarded at once");
  const heartbeat = await Heartbeat.claim(copies, { random: new SystemRandom() });
  try {
    const rings = await readRings(copies);
    const lost = ringOf(rings, discard);
    refuseResolving(ringOf(rings, keep), lost);
    const { clock, deadlineMs } = copies;
    await allWithinDeadline(
      clock,
      deadlineMs,
      "write",
      [{ copy: lost.copy, done: wipeRing(lost.copy, lost) }],
      () => true,
    );
    if (lost.copy.failure !== undefined) throw lost.copy.failure;
  } finally {
    await heartbeat.release();
  }
}

function ringOf(rings: RingSet, index: number): Ring {
  const ring = rings.ring(index);
  const silent = rings.copies.copy(index)?.failure;
  if (ring === undefined && silent !== undefined) throw silent;
  if (ring === undefined) throw new CopiesError("no-copy", `copy ${index}`, "is not among the targets given");
  return ring;
}

function refuseResolving(kept: Ring, lost: Ring): void {
  const root = completeRoot(kept);
  if (root === undefined) throw new CopiesError("no-root", kept.copy.name, incomplete(kept));
  const seen = rootLastSeen(root.view, lost.copy.index);
  if (seen === undefined || !equalBytes(seen.copyUuid, lost.copy.uuid)) {
    throw new CopiesError("mixed", lost.copy.name, `is not a copy of the volume as ${kept.copy.name} knows it`);
  }
  if (wentApart(kept, lost)) return;
  const names = `copy ${lost.copy.index} and copy ${kept.copy.index} have one history`;
  throw new CopiesError("divergent", lost.copy.name, `${names}; there is nothing to resolve, mount them together`);
}

function incomplete(ring: Ring): string {
  const { index } = ring.copy;
  const what = `copy ${index} holds no complete state of the volume`;
  if (ringRoots(ring).length === 0) return `${what}; keep another copy`;
  return `${what}: it was being caught up; keep the copy it was caught up from, or go back to what it last held with fsck.h2ts --select-master ${index}`;
}
