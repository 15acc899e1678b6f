// What all repairs of fields share: numbers that may be none, and reserved bytes.

import type { Structure } from "../src/format/structure.ts";

/** True when `read` gives a number at all: 64-bit fields beyond 2^53-1 do not. */
export function readable(read: () => number): boolean {
  try {
    read();
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

export function clearReserved(structure: Structure, bytes: Uint8Array): void {
  for (const { type, offsetBytes, elementBytes, count } of structure.fields) {
    if (type === "reserved") bytes.fill(0, offsetBytes, offsetBytes + elementBytes * count);
  }
}
