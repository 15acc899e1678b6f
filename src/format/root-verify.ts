// Verifies a root block read from media before anything uses it: the seal first, then every bound (I12). What passes
// here may be handed to the accessors of a root without further care; blockrefs are judged where they are followed.

import { equalBytes, isZero, type Uuid } from "../base/uuid.ts";
import { isCheckType } from "./check.ts";
import { FORMAT_VERSION } from "./features.ts";
import { FormatError } from "./format-error.ts";
import { COPIES_MAX, COPY_MAX_KIB } from "./geometry.ts";
import { HISTORY_ENTRIES } from "./history-entry.ts";
import { LAST_SEEN } from "./last-seen.ts";
import {
  ROOT_BLOCK,
  ROOT_BYTES,
  ROOT_MAGIC,
  rootCheckType,
  rootCopyCount,
  rootCopyIndex,
  rootCopyUuid,
  rootEpoch,
  rootFormatVersion,
  rootInSync,
  rootLabel,
  rootMinCopies,
  rootRevalidateCursor,
  rootScrub,
  rootScrubCursor,
  rootSequence,
  rootVolumeUuid,
  SEQUENCE_MAX,
} from "./root-block.ts";
import { rootHistory } from "./root-history.ts";
import { rootLastSeen } from "./root-members.ts";
import { rootSealMatches } from "./root-seal.ts";
import { SCRUB_RECORD } from "./scrub-record.ts";
import { firstDirtyReserved, offsetOf } from "./structure.ts";

const LAST_SEEN_AT = offsetOf(ROOT_BLOCK, "lastSeen");
const SCRUB_AT = offsetOf(ROOT_BLOCK, "scrub");

export interface RootPlace {
  readonly volumeUuid: Uuid;
  readonly copyUuid: Uuid;
  readonly copyIndex: number;
  /** Where in the copy the bytes were read. */
  readonly offsetBytes: number;
  /** What the operator calls the copy. */
  readonly name: string;
}

/** True for a slot nothing was ever written to, such as the anchor of a healthy copy. */
export function isEmptyRoot(bytes: Uint8Array): boolean {
  return isZero(bytes);
}

/**
 * Throws FormatError unless `bytes` are a root that was written to exactly this place of this copy and keeps all bounds.
 * Of a root of another format version only seal and identity are judged: its layout is the future's business.
 */
export function verifyRoot(bytes: Uint8Array, at: RootPlace): void {
  const place = `${at.name}: root at byte ${at.offsetBytes}`;
  const refuse = (detail: string): never => {
    throw new FormatError(place, detail);
  };
  if (bytes.length !== ROOT_BYTES) refuse(`is ${bytes.length} bytes long, not ${ROOT_BYTES}`);
  if (Buffer.from(bytes.buffer, bytes.byteOffset, 8).toString("latin1") !== ROOT_MAGIC) refuse("is not a root block");
  if (!rootSealMatches(bytes, at.copyUuid, at.offsetBytes)) refuse("check code does not match");
  const v = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (!equalBytes(rootCopyUuid(v), at.copyUuid)) refuse("belongs to another copy");
  if (!equalBytes(rootVolumeUuid(v), at.volumeUuid)) refuse("belongs to another volume");
  if (rootFormatVersion(v) !== FORMAT_VERSION) return;
  if (rootCopyIndex(v) !== at.copyIndex) refuse(`says copy ${rootCopyIndex(v)}, the node header says ${at.copyIndex}`);
  const dirty = firstDirtyReserved(ROOT_BLOCK, bytes);
  if (dirty !== undefined) refuse(`${dirty} is not zero`);
  const dirtyScrub = firstDirtyReserved(SCRUB_RECORD, bytes, SCRUB_AT);
  if (dirtyScrub !== undefined) refuse(`scrub record: ${dirtyScrub} is not zero`);
  try {
    verifyNumbers(v, refuse);
    rootLabel(v, place);
    for (let index = 0; index < COPIES_MAX; index++) verifyLastSeen(bytes, v, index, place, refuse);
    verifyHistory(v, refuse);
  } catch (error) {
    // readU64 refuses what no double can hold.
    if (error instanceof RangeError) throw new FormatError(place, error.message);
    throw error;
  }
}

function verifyNumbers(v: DataView, refuse: (detail: string) => never): void {
  const sequence = rootSequence(v);
  if (sequence < 1 || sequence > SEQUENCE_MAX) refuse(`sequence is ${sequence}`);
  const copyCount = rootCopyCount(v);
  if (copyCount < 1 || copyCount > COPIES_MAX) refuse(`volume has ${copyCount} copies`);
  const minCopies = rootMinCopies(v);
  if (minCopies < 1 || minCopies > copyCount) refuse(`needs ${minCopies} of ${copyCount} copies`);
  if (rootInSync(v) === 0) refuse("no copy is in sync");
  if (!isCheckType(rootCheckType(v))) refuse(`check code ${rootCheckType(v)} is not known`);
  rootScrubCursor(v);
  rootScrub(v);
  rootRevalidateCursor(v);
}

function verifyLastSeen(
  bytes: Uint8Array,
  v: DataView,
  index: number,
  place: string,
  refuse: (detail: string) => never,
): void {
  const at = LAST_SEEN_AT + index * LAST_SEEN.sizeBytes;
  const dirty = firstDirtyReserved(LAST_SEEN, bytes, at);
  if (dirty !== undefined) refuse(`last seen of copy ${index}: ${dirty} is not zero`);
  const seen = rootLastSeen(v, index, place);
  if (seen === undefined) {
    if (!isZero(bytes.subarray(at, at + LAST_SEEN.sizeBytes))) refuse(`last seen of absent copy ${index} is not zero`);
    if ((rootInSync(v) & (1 << index)) !== 0) refuse(`copy ${index} is in sync but unknown`);
    return;
  }
  if (seen.sequence > SEQUENCE_MAX) refuse(`last seen of copy ${index}: sequence is ${seen.sequence}`);
  if (seen.issued > SEQUENCE_MAX) refuse(`last seen of copy ${index}: sequence ${seen.issued} was issued`);
  if (seen.joined > SEQUENCE_MAX) refuse(`last seen of copy ${index}: joined with sequence ${seen.joined}`);
  if (seen.replaces >= COPIES_MAX) refuse(`last seen of copy ${index}: replaces copy ${seen.replaces}`);
  if (seen.sizeKib > COPY_MAX_KIB) refuse(`last seen of copy ${index}: size is ${seen.sizeKib} KiB`);
}

function verifyHistory(v: DataView, refuse: (detail: string) => never): void {
  if (isZero(rootEpoch(v))) refuse("epoch is zero");
  if (!equalBytes(rootHistory(v, 0).epoch, rootEpoch(v))) refuse("history does not begin with the present epoch");
  let newest = SEQUENCE_MAX;
  for (let entry = 0; entry < HISTORY_ENTRIES; entry++) {
    const { sequence } = rootHistory(v, entry);
    if (sequence > newest)
      refuse(`history entry ${entry}: sequence is ${sequence}, where ${newest} is the highest possible`);
    newest = sequence;
  }
}
