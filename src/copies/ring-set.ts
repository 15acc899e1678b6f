// The rings of all copies together: writing the next root to each.
// Invariants: I2 (the caller flushes before and after), I6 (each root says what every copy was last seen with). The slot
// written is always the oldest or a lost one, so a crash at any point leaves each copy its previous root at least.

import type { Random } from "../base/random.ts";
import { ANCHOR_SLOT, KIB, ROOT_SLOTS, slotOffsets } from "../format/geometry.ts";
import { ROOT_BYTES, rootSequence, rootVersion, sealRoot, setRootLastSeenRoot } from "../format/root-block.ts";
import { VERSION_BYTES } from "../format/version-chain.ts";
import type { Copy } from "./copy.ts";
import type { CopySet } from "./copy-set.ts";
import { nextVersion, type Ring, readRing } from "./ring-slots.ts";

export class RingSet {
  readonly copies: CopySet;
  /** One for each present copy, by rising index. */
  readonly rings: readonly Ring[];

  constructor(copies: CopySet, rings: readonly Ring[]) {
    this.copies = copies;
    this.rings = rings;
  }

  /**
   * Writes the root in `image` to the next slot of every copy, front and back, each with its own chained version. Notes
   * in `image` what each copy was last seen with. Not durable before the flush that has to follow. The sequence must be
   * set and newer than all before.
   */
  async write(image: Uint8Array): Promise<void> {
    const view = new DataView(image.buffer, image.byteOffset, ROOT_BYTES);
    const sequence = rootSequence(view);
    const versions = this.rings.map(nextVersion);
    this.rings.forEach(({ copy }, i) => setRootLastSeenRoot(view, copy.index, sequence, versions[i] as Uint8Array));
    for (const side of [0, 1]) {
      await this.copies.writeAt(
        this.rings.map(({ copy, nextSlot }, i) => {
          const offsetBytes = slotOffsets(nextSlot, copy.sizeKib * KIB)[side] as number;
          return { copy, offsetBytes, bytes: sealRoot(image, copy.uuid, copy.index, offsetBytes, versions[i]) };
        }),
      );
    }
    this.rings.forEach((ring, i) => {
      const version = versions[i] as Uint8Array;
      const sealed = sealRoot(image, ring.copy.uuid, ring.copy.index, 0, version);
      const sealedView = new DataView(sealed.buffer);
      ring.slots[ring.nextSlot] = {
        image: sealed,
        view: sealedView,
        sequence,
        version: rootVersion(sealedView).slice(),
      };
      ring.backupVersion = ring.currentVersion;
      ring.currentVersion = version;
      ring.nextSlot = nextSlotOf(ring);
    });
  }
}

/** A lost slot first, else the one with the oldest root. */
function nextSlotOf(ring: Ring): number {
  let oldest = 0;
  for (let slot = 1; slot < ROOT_SLOTS; slot++) {
    if ((ring.slots[slot]?.sequence ?? -1) < (ring.slots[oldest]?.sequence ?? -1)) oldest = slot;
  }
  return oldest;
}

/** Reads the rings of all copies. Never rejects for what is on the media. */
export async function readRings(copies: CopySet): Promise<RingSet> {
  return new RingSet(copies, await Promise.all(copies.copies.map((copy) => readRing(copy, copies.volumeUuid))));
}

/**
 * Rings of a volume being made: all slots and the anchor are wiped, on all copies. The first version is random and the
 * same everywhere, so that the three roots mkfs writes are chained.
 */
export async function newRings(copies: CopySet, random: Random): Promise<RingSet> {
  const wiped = copies.copies.flatMap((copy) =>
    Array.from({ length: ANCHOR_SLOT + 1 }, (_, slot) => slotOffsets(slot, copy.sizeKib * KIB))
      .flat()
      .map((offsetBytes) => ({ copy, offsetBytes, bytes: new Uint8Array(ROOT_BYTES) })),
  );
  await copies.writeAt(wiped);
  const backupVersion = random.bytes(VERSION_BYTES);
  const currentVersion = random.bytes(VERSION_BYTES);
  const emptyRing = (copy: Copy): Ring => ({
    copy,
    slots: new Array<undefined>(ROOT_SLOTS).fill(undefined),
    anchor: undefined,
    findings: [],
    nextSlot: 0,
    backupVersion,
    currentVersion,
  });
  return new RingSet(copies, copies.copies.map(emptyRing));
}
