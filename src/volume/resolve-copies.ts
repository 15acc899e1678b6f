// Two copies went different ways and the operator chose (I6): what is only on the one discarded is given up for good. Its
// ring and anchor are wiped, so that it holds no state of the volume any more; at the next mount it is a blank copy, which is
// revalidated and caught up. Nothing is wiped before the other is known to hold a complete state.

import type { CopySet } from "../copies/copy-set.ts";
import { standingOf } from "../copies/choose-root.ts";
import { CopiesError } from "../copies/errors.ts";
import { lastComplete } from "../copies/lineage.ts";
import { readRings, type Ring, type RingSet, ringRoots, wipeRing } from "../copies/ring.ts";
import { equalBytes } from "../base/uuid.ts";
import { rootLastSeen } from "../format/root-block.ts";

/** Gives up what copy `discard` has and copy `keep` has not. The volume must not be mounted. Throws CopiesError, DeviceError. */
export async function resolveCopies(copies: CopySet, keep: number, discard: number): Promise<void> {
  const rings = await readRings(copies);
  if (keep === discard) throw new CopiesError("syntax", `copy ${keep}`, "can't be kept and discarded at once");
  const kept = ringOf(rings, keep);
  const lost = ringOf(rings, discard);
  const [newest] = ringRoots(kept);
  if (newest === undefined || lastComplete(kept) === undefined) {
    throw new CopiesError("no-root", kept.copy.name, "holds no complete state of the volume; keep another copy");
  }
  const seen = rootLastSeen(newest.view, discard);
  if (seen === undefined || !equalBytes(seen.copyUuid, lost.copy.uuid)) {
    throw new CopiesError("mixed", lost.copy.name, `is not a copy of the volume as ${kept.copy.name} knows it`);
  }
  const { standing } = standingOf(lost, newest);
  if (standing === "divergent") {
    await wipeRing(lost.copy);
    if (lost.copy.failure !== undefined) throw lost.copy.failure;
    return;
  }
  const detail = `did not go another way than ${kept.copy.name} (it is ${standing}); there is nothing to resolve, mount them together`;
  throw new CopiesError("divergent", lost.copy.name, detail);
}

function ringOf(rings: RingSet, index: number): Ring {
  const ring = rings.ring(index);
  if (ring === undefined) throw new CopiesError("no-copy", `copy ${index}`, "is not among the targets given");
  return ring;
}
