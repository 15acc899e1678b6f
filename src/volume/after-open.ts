// What is put in order once a volume is open for writing and sound: slots of the root rings that were damaged, and what a crash
// left half removed (trap 10).

import type { RingSet } from "../copies/ring-set.ts";
import { type RingFindingKind, ringRoots } from "../copies/ring-slots.ts";
import { ROOT_SLOTS } from "../format/geometry.ts";
import { isDamage, pendingInodes } from "./pending-inodes.ts";
import type { Volume } from "./volume.ts";

/** Duplicates of roots that were read in vain. */
const DUPLICATES_LOST: Partial<Record<RingFindingKind, number>> = { "duplicate-lost": 1, "slot-lost": 2 };

/**
 * Three commits write every slot: a damaged one is not left until so many changes have come by themselves. Not where a
 * copy is behind, as after a crash: it must not fall further behind if this is cut short, and its slot is written next.
 */
export async function renewRings(volume: Volume, { rings }: RingSet): Promise<void> {
  if (rings.some((ring) => ringRoots(ring)[0]?.sequence !== volume.sequence)) return;
  const damaged = rings.map(({ copy, findings }) => ({
    copy,
    kinds: findings.map(({ kind }) => kind).filter((kind) => kind !== "anchor-damaged"),
  }));
  if (damaged.every(({ kinds }) => kinds.length === 0)) return;
  try {
    for (let slot = 0; slot < ROOT_SLOTS; slot++) await volume.forceCommit();
  } catch {
    return; // The volume has turned read-only, and says why.
  }
  for (const { copy, kinds } of damaged) for (const kind of kinds) copy.repaired += DUPLICATES_LOST[kind] ?? 0;
}

/** Removes what was left without a name, and trims what was left past the end of files, in bounded steps. */
export async function finishReleases(volume: Volume, onNote: (line: string) => void): Promise<void> {
  for await (const ino of pendingInodes(volume, onNote)) await finishRelease(volume, ino);
}

/** A damaged orphan is left for fsck.h2ts: one bad block must not keep the volume from being mounted. */
async function finishRelease(volume: Volume, ino: number): Promise<void> {
  try {
    for (let next: number | undefined = ino; next !== undefined; ) {
      next = (await volume.apply({ op: "release", ino: next })).unfinished;
    }
  } catch (error) {
    if (!isDamage(error, volume)) throw error;
  }
}
