// The heartbeat: one sector at the front of a copy, in the unused part of the anchor's slot. Who has the volume mounted
// for writing writes it again and again where others could open the copy too (I11). All zero: nobody has it mounted.
// One sector, so that it is never torn; sealed with its place and copy, so that a misplaced one is not taken for ours.

import { writeU64 } from "../base/integers.ts";
import type { Uuid } from "../base/uuid.ts";
import { sha256 } from "./check.ts";
import { ANCHOR_SLOT, KIB, NONCE_BYTES, ROOT_SLOT_KIB } from "./geometry.ts";
import { declareStructure, offsetOf } from "./structure.ts";

export const HEARTBEAT_BYTES = 512;
const MAGIC = "H2TSBEAT";

/** Where it lies within a copy. There is one only: a duplicate could disagree. */
export const HEARTBEAT_OFFSET_BYTES = (ANCHOR_SLOT * ROOT_SLOT_KIB + ROOT_SLOT_KIB / 2) * KIB;

export const HEARTBEAT = declareStructure(
  "heartbeat",
  HEARTBEAT_BYTES,
  "Says who has the volume mounted for writing; all zero when nobody has.",
  [
    { name: "magic", type: "bytes", sizeBytes: 8, meaning: '"H2TSBEAT"' },
    { name: "volumeUuid", type: "uuid", meaning: "identity of the volume" },
    { name: "copyUuid", type: "uuid", meaning: "identity of the copy it is on" },
    { name: "nonce", type: "bytes", sizeBytes: NONCE_BYTES, meaning: "random, chosen by each mount" },
    { name: "counter", type: "u64", meaning: "rises with every beat" },
    { name: "reserved", type: "reserved", sizeBytes: 416, meaning: "zero" },
    {
      name: "check",
      type: "bytes",
      sizeBytes: 32,
      meaning: "SHA-256 over this block with a zero check, then its byte offset in the copy (u64)",
    },
  ],
);

const AT = {
  magic: offsetOf(HEARTBEAT, "magic"),
  volumeUuid: offsetOf(HEARTBEAT, "volumeUuid"),
  copyUuid: offsetOf(HEARTBEAT, "copyUuid"),
  nonce: offsetOf(HEARTBEAT, "nonce"),
  counter: offsetOf(HEARTBEAT, "counter"),
  check: offsetOf(HEARTBEAT, "check"),
} as const;

/** One beat. Only its writer needs to understand it: to everybody else, it changes or it does not. */
export function encodeHeartbeat(volumeUuid: Uuid, copyUuid: Uuid, nonce: Uint8Array, counter: number): Uint8Array {
  const bytes = new Uint8Array(HEARTBEAT_BYTES);
  bytes.set(new TextEncoder().encode(MAGIC), AT.magic);
  bytes.set(volumeUuid, AT.volumeUuid);
  bytes.set(copyUuid, AT.copyUuid);
  bytes.set(nonce, AT.nonce);
  writeU64(new DataView(bytes.buffer), AT.counter, counter);
  bytes.set(seal(bytes), AT.check);
  return bytes;
}

/** The nonce of a sound heartbeat of this copy; undefined for anything else. */
export function heartbeatNonce(bytes: Uint8Array, volumeUuid: Uuid, copyUuid: Uuid): Uint8Array | undefined {
  const has = (at: number, wanted: Uint8Array): boolean =>
    Buffer.compare(bytes.subarray(at, at + wanted.length), wanted) === 0;
  if (!has(AT.volumeUuid, volumeUuid) || !has(AT.copyUuid, copyUuid) || !has(AT.check, seal(bytes))) return undefined;
  return bytes.slice(AT.nonce, AT.nonce + NONCE_BYTES);
}

function seal(bytes: Uint8Array): Uint8Array {
  const offset = new Uint8Array(8);
  writeU64(new DataView(offset.buffer), 0, HEARTBEAT_OFFSET_BYTES);
  return sha256(bytes.subarray(0, AT.check), new Uint8Array(32), offset);
}
