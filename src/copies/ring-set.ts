// The rings of all copies together: writing the next root to each, and the anchor of a copy that is caught up.
// Invariants: I2 (the caller flushes before and after), I6 (each root says what every copy was last seen with), I7 (the
// anchor is written before a copy gets its first block). The slot written is always the oldest or a lost one, so a crash
// at any point leaves each copy its previous root at least.

import { assert } from "../base/assert.ts";
import type { Random } from "../base/random.ts";
import { ANCHOR_SLOT, KIB, ROOT_SLOTS, slotOffsets } from "../format/geometry.ts";
import { HEARTBEAT_BYTES, HEARTBEAT_OFFSET_BYTES } from "../format/heartbeat.ts";
import { ROOT_BYTES, rootSequence, rootVersion } from "../format/root-block.ts";
import { setRootLastSeenRoot } from "../format/root-members.ts";
import { sealRoot } from "../format/root-seal.ts";
import { VERSION_BYTES } from "../format/version-chain.ts";
import type { Copy } from "./copy.ts";
import type { CopySet } from "./copy-set.ts";
import { nextVersion, type Ring, type RingRoot, readRing, ringRoots } from "./ring-slots.ts";

export class RingSet {
  readonly copies: CopySet;
  #rings: readonly Ring[];

  constructor(copies: CopySet, rings: readonly Ring[]) {
    this.copies = copies;
    this.#rings = rings;
  }

  /** One for each copy at hand, by rising index. */
  get rings(): readonly Ring[] {
    return this.#rings;
  }

  /** Takes in the ring of a copy that returned. */
  add(ring: Ring): void {
    this.#rings = [...this.#rings.filter(({ copy }) => copy.index !== ring.copy.index), ring].sort(
      (a, b) => a.copy.index - b.copy.index,
    );
  }

  remove(copyIndex: number): void {
    this.#rings = this.#rings.filter(({ copy }) => copy.index !== copyIndex);
  }

  ring(copyIndex: number): Ring | undefined {
    return this.#rings.find(({ copy }) => copy.index === copyIndex);
  }

  /**
   * Writes the root in `image` to the next slot of every active copy, front and back, each with its own chained version.
   * Notes in `image` what each copy was last seen with. Not durable before the flush that has to follow; a copy that
   * fails is marked. The sequence must be set and newer than all before.
   */
  async write(image: Uint8Array): Promise<void> {
    const view = new DataView(image.buffer, image.byteOffset, ROOT_BYTES);
    const sequence = rootSequence(view);
    const rings = this.#rings.filter(({ copy }) => copy.active && copy.failure === undefined);
    const versions = rings.map(nextVersion);
    rings.forEach(({ copy }, i) => setRootLastSeenRoot(view, copy.index, sequence, versions[i] as Uint8Array));
    for (const side of [0, 1]) {
      await this.copies.writeAt(
        rings
          .map(({ copy, nextSlot }, i) => {
            const offsetBytes = slotOffsets(nextSlot, copy.sizeKib * KIB)[side] as number;
            return { copy, offsetBytes, bytes: sealRoot(image, copy.uuid, copy.index, offsetBytes, versions[i]) };
          })
          .filter(({ copy }) => copy.failure === undefined),
      );
    }
    rings.forEach((ring, i) => {
      const version = versions[i] as Uint8Array;
      ring.slots[ring.nextSlot] = rootFor(ring.copy, image, version);
      ring.backupVersion = ring.currentVersion;
      ring.currentVersion = version;
      ring.nextSlot = nextSlotOf(ring);
    });
  }

  /** Writes `root`, the last one complete on this copy, to its anchor and flushes. A failure is on the copy. */
  async writeAnchor(copy: Copy, root: RingRoot): Promise<void> {
    await this.#writeAnchor(copy, root);
  }

  /** Empties the anchor of a copy that is in sync again. */
  async clearAnchor(copy: Copy): Promise<void> {
    await this.#writeAnchor(copy, undefined);
  }

  async #writeAnchor(copy: Copy, root: RingRoot | undefined): Promise<void> {
    // Another one may take its place meanwhile, with a ring of its own.
    const ring = this.ring(copy.index);
    assert(ring?.copy === copy, `copy ${copy.index} has no ring`);
    // One side after the other: a crash in between leaves the anchor as it was, or as it shall be.
    for (const offsetBytes of slotOffsets(ANCHOR_SLOT, copy.sizeKib * KIB)) {
      const bytes =
        root === undefined
          ? new Uint8Array(ROOT_BYTES)
          : sealRoot(root.image, copy.uuid, copy.index, offsetBytes, root.version);
      await this.copies.writeAt([{ copy, offsetBytes, bytes }]);
      await this.copies.flush(copy);
    }
    ring.anchor = root;
  }
}

function rootFor(copy: Copy, image: Uint8Array, version: Uint8Array): RingRoot {
  const sealed = sealRoot(image, copy.uuid, copy.index, 0, version);
  const view = new DataView(sealed.buffer);
  return { image: sealed, view, sequence: rootSequence(view), version: rootVersion(view).slice() };
}

/** A lost slot first, else the one with the oldest root. */
function nextSlotOf(ring: Ring): number {
  let oldest = 0;
  for (let slot = 1; slot < ROOT_SLOTS; slot++) {
    if ((ring.slots[slot]?.sequence ?? -1) < (ring.slots[oldest]?.sequence ?? -1)) oldest = slot;
  }
  return oldest;
}

/**
 * Reads the rings of all copies. Never rejects for what is on the media. One that does not answer is given up and has none: it
 * is of no use to anybody until it is opened anew.
 */
export async function readRings(copies: CopySet): Promise<RingSet> {
  const answering = copies.copies.filter(({ stalled }) => !stalled);
  const rings = await Promise.all(answering.map((copy) => readRing(copies.alone(copy), copies.volumeUuid)));
  for (const copy of copies.copies) {
    if (!copy.stalled) continue;
    copy.standing = "faulted";
    copy.reason = copy.failure?.message ?? "does not answer";
  }
  return new RingSet(
    copies,
    rings.filter(({ copy }) => !copy.stalled),
  );
}

/**
 * Rings of a volume being made: all slots, the anchor and the heartbeat are wiped, on all copies. The first version is random and the
 * same everywhere, so that the three roots mkfs writes are chained.
 */
export async function newRings(copies: CopySet, random: Random): Promise<RingSet> {
  await copies.writeAt(
    copies.copies.flatMap((copy) => [
      ...ringOffsets(copy).map((offsetBytes) => ({ copy, offsetBytes, bytes: new Uint8Array(ROOT_BYTES) })),
      { copy, offsetBytes: HEARTBEAT_OFFSET_BYTES, bytes: new Uint8Array(HEARTBEAT_BYTES) },
    ]),
  );
  const backupVersion = random.bytes(VERSION_BYTES);
  const currentVersion = random.bytes(VERSION_BYTES);
  return new RingSet(
    copies,
    copies.copies.map((copy) => emptyRing(copy, backupVersion, currentVersion)),
  );
}

/** Where the slots of a copy's ring and its anchor lie. */
function ringOffsets(copy: Copy): number[] {
  return Array.from({ length: ANCHOR_SLOT + 1 }, (_, slot) => slotOffsets(slot, copy.sizeKib * KIB)).flat();
}

/**
 * Wipes the ring of one copy and its anchor, durably: it holds no state of the volume any more. A failure is on the copy. `ring`: what is
 * on it, where it may hold roots of this copy. The newest goes last: it says who has to be there, of which those before it know nothing.
 */
export async function wipeRing(copy: Copy, ring?: Ring): Promise<void> {
  const [newest] = ring === undefined ? [] : ringRoots(ring);
  const slot = newest === undefined ? -1 : (ring?.slots.indexOf(newest) ?? -1);
  const last: readonly number[] = slot < 0 ? [] : slotOffsets(slot, copy.sizeKib * KIB);
  await wipe(
    copy,
    ringOffsets(copy).filter((offsetBytes) => !last.includes(offsetBytes)),
  );
  if (last.length > 0) await wipe(copy, last);
}

async function wipe(copy: Copy, offsets: readonly number[]): Promise<void> {
  for (const offsetBytes of offsets) await copy.write(offsetBytes, [new Uint8Array(ROOT_BYTES)]);
  await copy.flush();
}

/** The ring of a copy on which no root was written yet. */
export function emptyRing(copy: Copy, backupVersion: Uint8Array, currentVersion: Uint8Array): Ring {
  const slots = new Array<undefined>(ROOT_SLOTS).fill(undefined);
  return { copy, slots, anchor: undefined, findings: [], nextSlot: 0, backupVersion, currentVersion };
}
