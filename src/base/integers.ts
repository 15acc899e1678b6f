// Integers wider than 32 bits without BigInt: two u32 accesses cost about 1 ns, a BigInt twenty times that and garbage.
// Every number here stays at or below 2^53-1, so a double holds it exactly.

import { assert } from "./assert.ts";

const TWO_32 = 0x1_0000_0000;

/** Reads a little-endian u64. Throws RangeError above 2^53-1: nothing h2ts writes is larger (I12). */
export function readU64(view: DataView, offset: number): number {
  const high = view.getUint32(offset + 4, true);
  if (high > 0x1f_ffff) throw new RangeError(`64-bit value at byte ${offset} exceeds 2^53-1`);
  return high * TWO_32 + view.getUint32(offset, true);
}

export function writeU64(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % TWO_32, true);
  view.setUint32(offset + 4, Math.floor(value / TWO_32), true);
}

/** Reads a little-endian two's-complement i64 within ±(2^53-1). */
export function readI64(view: DataView, offset: number): number {
  const high = view.getInt32(offset + 4, true);
  if (high > 0x1f_ffff || high < -0x20_0000) throw new RangeError(`64-bit value at byte ${offset} exceeds ±2^53`);
  return high * TWO_32 + view.getUint32(offset, true);
}

export function writeI64(view: DataView, offset: number, value: number): void {
  const high = Math.floor(value / TWO_32);
  view.setInt32(offset + 4, high, true);
  view.setUint32(offset, value - high * TWO_32, true);
}

export function readU48(view: DataView, offset: number): number {
  return view.getUint16(offset + 4, true) * TWO_32 + view.getUint32(offset, true);
}

export function writeU48(view: DataView, offset: number, value: number): void {
  view.setUint32(offset, value % TWO_32, true);
  view.setUint16(offset + 4, Math.floor(value / TWO_32), true);
}

/** Smallest multiple of `unit` that is at least `value`; works above 2^32. */
export function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** Largest multiple of `unit` that is at most `value`; works above 2^32. */
export function alignDown(value: number, unit: number): number {
  return value - (value % unit);
}

export function isPowerOfTwo(value: number): boolean {
  return value > 0 && value <= 0x4000_0000 && (value & (value - 1)) === 0;
}

/** Exponent of the smallest power of two that is at least `value` (1 ≤ value ≤ 2^30). */
export function log2Ceil(value: number): number {
  assert(value >= 1 && value <= 0x4000_0000, `log2Ceil of ${value}`);
  return 32 - Math.clz32(value - 1);
}
