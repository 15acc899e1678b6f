// Reads the root ring of every copy and says what is wrong with it: each slot's two duplicates are verified first and
// ranked afterwards; the chain of versions must agree with the sequences. Chooses the root the check begins at.

import type { Uuid } from "../src/base/uuid.ts";
import { equalBytes, isZero } from "../src/base/uuid.ts";
import type { BlockDevice } from "../src/device/device.ts";
import { DeviceError } from "../src/device/device.ts";
import { FormatError } from "../src/format/format-error.ts";
import { ANCHOR_SLOT, ROOT_SLOTS, slotOffsets } from "../src/format/geometry.ts";
import { ROOT_BYTES, rootSequence, rootVersion, rootVolumeUuid } from "../src/format/root-block.ts";
import { verifyRoot } from "../src/format/root-verify.ts";
import { chainOrder } from "../src/format/version-chain.ts";
import type { BlockReader } from "../src/walk/read-batch.ts";
import type { FindingList } from "./finding-list.ts";

/** One copy as a check needs it; every copy of a CopySet is one. */
export interface CheckedCopy {
  readonly index: number;
  readonly uuid: Uuid;
  readonly device: BlockDevice;
  readonly sizeKib: number;
  readonly targets: readonly string[];
}

/** What a check runs over; a CopySet is one. */
export interface CheckedCopies extends BlockReader {
  readonly copies: readonly CheckedCopy[];
}

/** A verified root block. */
export interface RootImage {
  readonly view: DataView;
  readonly sequence: number;
}

export interface Ring {
  readonly copy: CheckedCopy;
  /** Verified roots, newest first. */
  readonly roots: readonly RootImage[];
}

export function copyName(copy: CheckedCopy): string {
  return `copy ${copy.index} (${copy.targets.join("+")})`;
}

/** Reads all rings and reports what is wrong with them. */
export async function readRings(copies: CheckedCopies, list: FindingList): Promise<Ring[]> {
  const rings: Ring[] = [];
  for (const copy of copies.copies) rings.push(await readRing(copy, list));
  const newest = newestRoot(rings);
  for (const { copy, roots } of rings) {
    const first = roots[0];
    if (newest === undefined || first === undefined || first.sequence === newest.sequence) continue;
    const message = `${copyName(copy)}: newest root is ${first.sequence}, the volume's is ${newest.sequence}`;
    list.add("root-behind", message, { copy: copy.index, repair: { kind: "ring" } });
  }
  return rings;
}

/** The newest verified root of all rings. */
export function newestRoot(rings: readonly Ring[]): RootImage | undefined {
  let newest: RootImage | undefined;
  for (const ring of rings) {
    for (const root of ring.roots) if (newest === undefined || root.sequence > newest.sequence) newest = root;
  }
  return newest;
}

async function readRing(copy: CheckedCopy, list: FindingList): Promise<Ring> {
  const slots: (RootImage | undefined)[] = [];
  for (let slot = 0; slot < ROOT_SLOTS; slot++) slots.push(await readSlot(copy, slot, list));
  await checkAnchor(copy, list);
  checkChain(copy, slots, list);
  const roots = slots.filter((root) => root !== undefined).sort((a, b) => b.sequence - a.sequence);
  return { copy, roots };
}

/** The verified duplicate of a slot with the higher sequence; damaged and differing ones are reported. */
async function readSlot(copy: CheckedCopy, slot: number, list: FindingList): Promise<RootImage | undefined> {
  const images: RootImage[] = [];
  for (const offsetBytes of slotOffsets(slot, copy.device.sizeBytes)) {
    const image = await readRoot(copy, offsetBytes);
    if (typeof image !== "string") images.push(image);
    else list.add("root-slot", `slot ${slot}: ${image}`, { copy: copy.index, repair: { kind: "ring" } });
  }
  const [front, back] = images;
  if (front !== undefined && back !== undefined && front.sequence !== back.sequence) {
    const sequences = `${front.sequence} at the front, ${back.sequence} at the back`;
    // A power cut between the two writes leaves this; the next turn of the ring puts it right.
    list.add("root-behind", `${copyName(copy)}: slot ${slot} holds root ${sequences}`, {
      copy: copy.index,
      repair: { kind: "ring" },
    });
  }
  return images.sort((a, b) => b.sequence - a.sequence)[0];
}

/** A verified root, or what is wrong with it. */
async function readRoot(copy: CheckedCopy, offsetBytes: number): Promise<RootImage | string> {
  const bytes = new Uint8Array(ROOT_BYTES);
  const view = new DataView(bytes.buffer);
  try {
    await copy.device.read(offsetBytes, [bytes]);
    const volumeUuid = rootVolumeUuid(view);
    const name = copyName(copy);
    verifyRoot(bytes, { volumeUuid, copyUuid: copy.uuid, copyIndex: copy.index, offsetBytes, name });
    return { view, sequence: rootSequence(view) };
  } catch (error) {
    if (error instanceof FormatError || error instanceof DeviceError) return error.message;
    throw error;
  }
}

async function checkAnchor(copy: CheckedCopy, list: FindingList): Promise<void> {
  for (const offsetBytes of slotOffsets(ANCHOR_SLOT, copy.device.sizeBytes)) {
    const bytes = new Uint8Array(ROOT_BYTES);
    try {
      await copy.device.read(offsetBytes, [bytes]);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      list.add("anchor-slot", error.message, { copy: copy.index });
      continue;
    }
    if (!isZero(bytes)) {
      list.add("anchor-slot", `${copyName(copy)}: anchor at byte ${offsetBytes} is not empty`, { copy: copy.index });
    }
  }
}

/** Three good slots: the order the chain tells must be the order of the sequences. */
function checkChain(copy: CheckedCopy, slots: readonly (RootImage | undefined)[], list: FindingList): void {
  const [a, b, c] = slots;
  if (a === undefined || b === undefined || c === undefined) return;
  const chain = chainOrder([rootVersion(a.view), rootVersion(b.view), rootVersion(c.view)]);
  const bySequence = [0, 1, 2].sort((i, j) => (slots[i] as RootImage).sequence - (slots[j] as RootImage).sequence);
  const agrees =
    chain !== undefined &&
    equalBytes(Uint8Array.from(bySequence), Uint8Array.of(chain.overwrite, chain.backup, chain.current));
  if (agrees) return;
  const told = chain === undefined ? "no order" : `slots ${chain.overwrite}, ${chain.backup}, ${chain.current}`;
  list.add("root-chain", `${copyName(copy)}: versions chain in ${told}, sequences in slots ${bySequence.join(", ")}`, {
    copy: copy.index,
    repair: { kind: "ring" },
  });
}
