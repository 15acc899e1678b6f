// Check codes: what tells a block that is what its parent remembers from one that is not (I5).
// xxh64 by xxhash-wasm (the default), CRC-32 by zlib, SHA-256 by OpenSSL; little-endian, zero-padded to 32 bytes.

import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import xxhash from "xxhash-wasm";

export const CheckType = { XXH64: 1, CRC32: 2, SHA256: 3 } as const;
export type CheckType = (typeof CheckType)[keyof typeof CheckType];
export const CHECK_BYTES_MAX = 32;

export const CHECK_NAMES: Readonly<Record<string, CheckType>> = Object.freeze({
  xxh64: CheckType.XXH64,
  crc32: CheckType.CRC32,
  sha256: CheckType.SHA256,
});

export function isCheckType(value: number): value is CheckType {
  return value >= CheckType.XXH64 && value <= CheckType.SHA256;
}

const { h64Raw } = await xxhash();

// The library hands out a BigInt; storing it in a typed array and reading 32-bit halves avoids BigInt arithmetic.
const wide = new BigUint64Array(1);
const halves = new Uint32Array(wide.buffer);
const scratch = new Uint8Array(CHECK_BYTES_MAX);
const scratchView = new DataView(scratch.buffer);

/** Writes the check code of `bytes` to `view` at `at`, all 32 bytes of it. */
export function writeCheck(type: CheckType, bytes: Uint8Array, view: DataView, at: number): void {
  for (let i = 0; i < CHECK_BYTES_MAX; i += 4) view.setUint32(at + i, 0, true);
  switch (type) {
    case CheckType.XXH64:
      wide[0] = h64Raw(bytes);
      view.setUint32(at, halves[0] as number, true);
      view.setUint32(at + 4, halves[1] as number, true);
      return;
    case CheckType.CRC32:
      view.setUint32(at, crc32(bytes), true);
      return;
    case CheckType.SHA256: {
      const digest = hash("sha256", bytes, "buffer");
      new Uint8Array(view.buffer, view.byteOffset + at, CHECK_BYTES_MAX).set(digest);
    }
  }
}

/** True when `bytes` has the check code found in `view` at `at`. */
export function checkMatches(type: CheckType, bytes: Uint8Array, view: DataView, at: number): boolean {
  writeCheck(type, bytes, scratchView, 0);
  for (let i = 0; i < CHECK_BYTES_MAX; i += 4) {
    if (scratchView.getUint32(i, true) !== view.getUint32(at + i, true)) return false;
  }
  return true;
}

/** SHA-256 of several pieces in order; root blocks and node headers are sealed with it. */
export function sha256(...pieces: readonly Uint8Array[]): Uint8Array {
  // At once: for a root block each further call of the library costs as much as a quarter of the hash itself.
  return hash("sha256", Buffer.concat(pieces), "buffer");
}
