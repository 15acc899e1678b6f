// The seal of a root: what binds it to its place (I12). A misplaced or stale root, or one of another volume, never verifies.

import { writeU64 } from "../base/integers.ts";
import { equalBytes, type Uuid } from "../base/uuid.ts";
import { sha256 } from "./check.ts";
import { ROOT_BLOCK } from "./root-block.ts";
import { offsetOf } from "./structure.ts";

const VOLUME_UUID = offsetOf(ROOT_BLOCK, "volumeUuid");
const COPY_UUID = offsetOf(ROOT_BLOCK, "copyUuid");
const COPY_INDEX = offsetOf(ROOT_BLOCK, "copyIndex");
const VERSION = offsetOf(ROOT_BLOCK, "version");
/** The check is the last field. */
export const ROOT_CHECK_OFFSET = offsetOf(ROOT_BLOCK, "check");

/** The on-media bytes of `image` for byte `offsetBytes` of one copy; `image` itself stays as it is. */
export function sealRoot(
  image: Uint8Array,
  copyUuid: Uuid,
  copyIndex: number,
  offsetBytes: number,
  version?: Uint8Array,
): Uint8Array {
  const sealed = image.slice();
  sealed.set(copyUuid, COPY_UUID);
  sealed[COPY_INDEX] = copyIndex;
  if (version !== undefined) sealed.set(version, VERSION);
  sealed.set(rootSeal(sealed, copyUuid, offsetBytes), ROOT_CHECK_OFFSET);
  return sealed;
}

/** True when `bytes` carry the seal of a root of copy `copyUuid` at byte `offsetBytes` of it. */
export function rootSealMatches(bytes: Uint8Array, copyUuid: Uuid, offsetBytes: number): boolean {
  return equalBytes(rootSeal(bytes, copyUuid, offsetBytes), bytes.subarray(ROOT_CHECK_OFFSET));
}

/** The check of a root at that place; what stands in its check field counts as zero. */
function rootSeal(bytes: Uint8Array, copyUuid: Uuid, offsetBytes: number): Uint8Array {
  const offset = new Uint8Array(8);
  writeU64(new DataView(offset.buffer), 0, offsetBytes);
  const zeroCheck = new Uint8Array(32);
  return sha256(
    bytes.subarray(0, ROOT_CHECK_OFFSET),
    zeroCheck,
    copyUuid,
    offset,
    bytes.subarray(VOLUME_UUID, VOLUME_UUID + 16),
  );
}
