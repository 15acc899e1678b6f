// What a root says of each copy, by the copy's index: reads and changes the entries that last-seen.ts lays out.
// Invariant: I6.

import { readU64, writeU64 } from "../base/integers.ts";
import { isZero } from "../base/uuid.ts";
import { bytesAt } from "../base/view-bytes.ts";
import { ROW_BYTES } from "./copy-row.ts";
import { COPIES_MAX } from "./geometry.ts";
import { LAST_SEEN, type LastSeen } from "./last-seen.ts";
import { ROOT_BLOCK, ROOT_BYTES, rootEpoch } from "./root-block.ts";
import { offsetOf } from "./structure.ts";
import { TARGET_HINT_BYTES, writeTargetHint } from "./target-hint.ts";
import { decodeText } from "./text.ts";
import { VERSION_BYTES } from "./version-chain.ts";

const LAST_SEEN_AT = offsetOf(ROOT_BLOCK, "lastSeen");
/** Offsets in it. */
const SEEN = {
  copyUuid: offsetOf(LAST_SEEN, "copyUuid"),
  epoch: offsetOf(LAST_SEEN, "epoch"),
  version: offsetOf(LAST_SEEN, "version"),
  sequence: offsetOf(LAST_SEEN, "sequence"),
  sizeKib: offsetOf(LAST_SEEN, "sizeKib"),
  target: offsetOf(LAST_SEEN, "target"),
  issued: offsetOf(LAST_SEEN, "issued"),
  flags: offsetOf(LAST_SEEN, "flags"),
  replaces: offsetOf(LAST_SEEN, "replaces"),
  joined: offsetOf(LAST_SEEN, "joined"),
  row: offsetOf(LAST_SEEN, "row"),
} as const;

/** What of it tells which root was seen last. */
const SEEN_ROOT = [
  [SEEN.epoch, 16],
  [SEEN.version, VERSION_BYTES],
  [SEEN.sequence, 8],
  [SEEN.issued, 8],
] as const;

/** Byte of what is known of copy `index`. */
const seenAt = (index: number): number => LAST_SEEN_AT + index * LAST_SEEN.sizeBytes;

/** What the root knows of copy `index`; undefined when the volume has no such copy. */
export function rootLastSeen(v: DataView, index: number, place = "root"): LastSeen | undefined {
  const at = seenAt(index);
  const copyUuid = bytesAt(v, at + SEEN.copyUuid, 16);
  if (isZero(copyUuid)) return undefined;
  return {
    copyUuid,
    epoch: bytesAt(v, at + SEEN.epoch, 16),
    version: bytesAt(v, at + SEEN.version, VERSION_BYTES),
    sequence: readU64(v, at + SEEN.sequence),
    sizeKib: readU64(v, at + SEEN.sizeKib),
    target: decodeText(
      bytesAt(v, 0, ROOT_BYTES),
      at + SEEN.target,
      TARGET_HINT_BYTES,
      `${place}: target of copy ${index}`,
    ),
    // Volumes made before this field have none: there only roots that all copies got were ever written.
    issued: Math.max(readU64(v, at + SEEN.issued), readU64(v, at + SEEN.sequence)),
    flags: v.getUint8(at + SEEN.flags),
    replaces: v.getUint8(at + SEEN.replaces),
    joined: readU64(v, at + SEEN.joined),
    row: isZero(bytesAt(v, at + SEEN.row, ROW_BYTES)) ? undefined : bytesAt(v, at + SEEN.row, ROW_BYTES),
  };
}

/** Bit for each copy the volume has, present or not. */
export function rootMembers(v: DataView): number {
  let mask = 0;
  for (let index = 0; index < COPIES_MAX; index++) {
    if (!isZero(bytesAt(v, seenAt(index) + SEEN.copyUuid, 16))) mask |= 1 << index;
  }
  return mask;
}

/** Enters what is known of copy `index`; `undefined` forgets it. */
export function setRootLastSeen(
  v: DataView,
  index: number,
  seen: (Omit<LastSeen, "issued" | "flags" | "replaces" | "joined" | "row"> & Partial<LastSeen>) | undefined,
): void {
  const at = seenAt(index);
  const image = bytesAt(v, 0, ROOT_BYTES);
  // What was read from this very image before is about to be wiped.
  const [copyUuid, epoch, version] = [seen?.copyUuid.slice(), seen?.epoch.slice(), seen?.version.slice()];
  const row = seen?.row?.slice();
  image.fill(0, at, at + LAST_SEEN.sizeBytes);
  if (seen === undefined || copyUuid === undefined || epoch === undefined || version === undefined) return;
  writeU64(v, at + SEEN.issued, seen.issued ?? seen.sequence);
  v.setUint8(at + SEEN.flags, seen.flags ?? 0);
  v.setUint8(at + SEEN.replaces, seen.replaces ?? 0);
  writeU64(v, at + SEEN.joined, seen.joined ?? 0);
  image.set(copyUuid, at + SEEN.copyUuid);
  image.set(epoch, at + SEEN.epoch);
  image.set(version, at + SEEN.version);
  if (row !== undefined) image.set(row, at + SEEN.row);
  writeU64(v, at + SEEN.sequence, seen.sequence);
  writeU64(v, at + SEEN.sizeKib, seen.sizeKib);
  writeTargetHint(seen.target, image, at + SEEN.target);
}

/** Notes which root copy `index` is getting; the rest of what is known of it stays. */
export function setRootLastSeenRoot(v: DataView, index: number, sequence: number, version: Uint8Array): void {
  const at = seenAt(index);
  bytesAt(v, at + SEEN.epoch, 16).set(rootEpoch(v));
  bytesAt(v, at + SEEN.version, VERSION_BYTES).set(version);
  writeU64(v, at + SEEN.sequence, sequence);
  setRootIssued(v, index, sequence);
}

/** Takes over from root image `from` which root copy `index` was last seen with; all else known of it stays. */
export function copyRootLastSeenRoot(from: DataView, to: DataView, index: number): void {
  const at = seenAt(index);
  for (const [field, sizeBytes] of SEEN_ROOT)
    bytesAt(to, at + field, sizeBytes).set(bytesAt(from, at + field, sizeBytes));
}

/** Notes that a root of this sequence may reach copy `index` from now on. */
export const setRootIssued = (v: DataView, index: number, sequence: number): void =>
  writeU64(v, seenAt(index) + SEEN.issued, sequence);

/** Notes with which root copy `index` came into sync. */
export const setRootJoined = (v: DataView, index: number, sequence: number): void =>
  writeU64(v, seenAt(index) + SEEN.joined, sequence);

/** MemberFlag of copy `index`. */
export const rootMemberFlags = (v: DataView, index: number): number => v.getUint8(seenAt(index) + SEEN.flags);
export const setRootMemberFlags = (v: DataView, index: number, flags: number): void =>
  v.setUint8(seenAt(index) + SEEN.flags, flags);

/** Notes which nodes make up copy `index`, as `rowOf` tells it. */
export const setRootRow = (v: DataView, index: number, row: Uint8Array): void =>
  bytesAt(v, seenAt(index) + SEEN.row, ROW_BYTES).set(row);

/** Notes where copy `index` is now. */
export function setRootTarget(v: DataView, index: number, target: string): void {
  writeTargetHint(target, bytesAt(v, 0, ROOT_BYTES), seenAt(index) + SEEN.target);
}
