// The root ring of one copy: three slots that hold its newest roots and the anchor, each kept at the front of the copy
// and again at its back. Versions are chained, so the order of the slots follows from their content.
// Rule: verify first, rank afterwards. Per slot the verified duplicate with the higher sequence; then the chain; where a
// slot is lost, or the chain disagrees, the sequence.

import { equalBytes, type Uuid } from "../base/uuid.ts";
import { DeviceError } from "../device/device.ts";
import { FormatError } from "../format/format-error.ts";
import { ANCHOR_SLOT, KIB, slotOffsets } from "../format/geometry.ts";
import { ROOT_BYTES, rootSequence, rootVersion } from "../format/root-block.ts";
import { isEmptyRoot, verifyRoot } from "../format/root-verify.ts";
import { chainOrder, chainVersion } from "../format/version-chain.ts";
import type { Copy } from "./copy.ts";
import type { ReadableCopy } from "./lone-copy.ts";

/** No honest ring has a root this much newer than its neighbours: they are written one commit after another (trap 9). */
const SEQUENCE_JUMP_MAX = 2 ** 20;

export type RingFindingKind =
  | "duplicate-lost"
  | "slot-lost"
  | "duplicate-differs"
  | "chain-disagrees"
  | "sequence-jump"
  | "anchor-damaged";

/** Something wrong with a ring that does not keep the copy from being used. */
export interface RingFinding {
  readonly kind: RingFindingKind;
  readonly copyIndex: number;
  /** 0–2, or 3 for the anchor; -1 when it concerns the ring as a whole. */
  readonly slot: number;
  readonly message: string;
}

/** A verified root of one copy. */
export interface RingRoot {
  readonly image: Uint8Array;
  readonly view: DataView;
  readonly sequence: number;
  readonly version: Uint8Array;
}

/** What is on the ring of one copy; moved on by every root written. */
export interface Ring {
  readonly copy: Copy;
  readonly slots: (RingRoot | undefined)[];
  /** The last root that was complete on this copy, while it is caught up. */
  anchor: RingRoot | undefined;
  readonly findings: readonly RingFinding[];
  /** Slot the next root goes to. */
  nextSlot: number;
  /** Versions of the two newest roots, from which the next one's follows. */
  backupVersion: Uint8Array;
  currentVersion: Uint8Array;
}

/** Verified roots of the ring, newest first. */
export function ringRoots(ring: Ring): RingRoot[] {
  return ring.slots.filter((root) => root !== undefined).sort((a, b) => b.sequence - a.sequence);
}

/** The version of the root to be written next. */
export const nextVersion = (ring: Ring): Uint8Array => chainVersion(ring.backupVersion, ring.currentVersion);

/** Reads and judges the ring of a copy. Never rejects for what is on the media. */
export async function readRing(from: ReadableCopy, volumeUuid: Uuid): Promise<Ring> {
  const { copy } = from;
  const findings: RingFinding[] = [];
  const read = (slot: number): Promise<RingRoot | undefined> => readSlot(from, slot, volumeUuid, findings);
  const [a, b, c, anchor] = await Promise.all([read(0), read(1), read(2), read(ANCHOR_SLOT)]);
  const slots = [a, b, c];
  dropJumps(copy, slots, findings);
  return { copy, slots, anchor, findings, ...orderOf(copy, slots, findings) };
}

async function readSlot(
  from: ReadableCopy,
  slot: number,
  volumeUuid: Uuid,
  findings: RingFinding[],
): Promise<RingRoot | undefined> {
  const { copy } = from;
  const note = (kind: RingFindingKind, message: string): void =>
    void findings.push({ kind, copyIndex: copy.index, slot, message: `copy ${copy.index}, ${message}` });
  const duplicates = await Promise.all(
    slotOffsets(slot, copy.sizeKib * KIB).map((offsetBytes) => readDuplicate(from, offsetBytes, volumeUuid)),
  );
  const roots = duplicates.filter((found) => typeof found === "object");
  const reasons = duplicates.filter((found) => typeof found === "string");
  const [first, second] = roots;
  if (slot === ANCHOR_SLOT) {
    for (const reason of reasons) if (reason !== EMPTY) note("anchor-damaged", reason);
  } else if (first === undefined) note("slot-lost", reasons.join("; "));
  else if (second === undefined) note("duplicate-lost", reasons.join("; "));
  if (first === undefined || second === undefined) return first;
  if (first.sequence !== second.sequence || !equalBytes(first.version, second.version)) {
    note("duplicate-differs", `slot ${slot}: front is root ${first.sequence}, back is root ${second.sequence}`);
  }
  return second.sequence > first.sequence ? second : first;
}

const EMPTY = "nothing was ever written there";

/** The root found at a place, or why there is none. */
async function readDuplicate(
  { copy, read }: ReadableCopy,
  offsetBytes: number,
  volumeUuid: Uuid,
): Promise<RingRoot | string> {
  const image = new Uint8Array(ROOT_BYTES);
  try {
    await read(offsetBytes, [image]);
    if (isEmptyRoot(image)) return EMPTY;
    verifyRoot(image, { volumeUuid, copyUuid: copy.uuid, copyIndex: copy.index, offsetBytes, name: copy.name });
  } catch (error) {
    if (error instanceof DeviceError) copy.errors.read++;
    else if (error instanceof FormatError) copy.errors.checksum++;
    else throw error;
    return error.message;
  }
  const view = new DataView(image.buffer);
  return { image, view, sequence: rootSequence(view), version: rootVersion(view).slice() };
}

/** Takes out a root whose sequence is out of all proportion to both others: an honest one is a commit or so away. */
function dropJumps(copy: Copy, slots: (RingRoot | undefined)[], findings: RingFinding[]): void {
  const sequences = slots.map((root) => root?.sequence ?? -1).sort((x, y) => y - x);
  const [newest = -1, second = -1] = sequences;
  if (second < 0 || newest - second <= SEQUENCE_JUMP_MAX) return;
  const slot = slots.findIndex((root) => root?.sequence === newest);
  slots[slot] = undefined;
  const message = `copy ${copy.index}, slot ${slot}: root ${newest} is not credible beside root ${second}`;
  findings.push({ kind: "sequence-jump", copyIndex: copy.index, slot, message });
}

type Order = Pick<Ring, "nextSlot" | "backupVersion" | "currentVersion">;

function orderOf(copy: Copy, slots: readonly (RingRoot | undefined)[], findings: RingFinding[]): Order {
  const bySequence = [0, 1, 2].sort((x, y) => (slots[x]?.sequence ?? -1) - (slots[y]?.sequence ?? -1));
  const [oldest = 0, middle = 1, newest = 2] = bySequence;
  const versionAt = (slot: number): Uint8Array => slots[slot]?.version ?? new Uint8Array(16);
  const order: Order = { nextSlot: oldest, backupVersion: versionAt(middle), currentVersion: versionAt(newest) };
  const [a, b, c] = slots;
  if (a === undefined || b === undefined || c === undefined) return order;
  const chain = chainOrder([a.version, b.version, c.version]);
  if (chain?.overwrite === oldest && chain.backup === middle && chain.current === newest) return order;
  const chained = chain === undefined ? "no order" : `${chain.overwrite}, ${chain.backup}, ${chain.current}`;
  const message = `copy ${copy.index}: versions chain in ${chained}, sequences in ${bySequence.join(", ")}`;
  findings.push({ kind: "chain-disagrees", copyIndex: copy.index, slot: -1, message });
  return order;
}
