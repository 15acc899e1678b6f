// Where a copy was when it was seen last: a hint for people, in a field of fixed length.

import { encodeText } from "./text.ts";

export const TARGET_HINT_BYTES = 160;

/** Writes the hint to `bytes` at `at`, zero-padded. */
export function writeTargetHint(target: string, bytes: Uint8Array, at: number): void {
  encodeText(hintOf(target), bytes, at, TARGET_HINT_BYTES, "target hint");
}

/** A path too long for the hint keeps its end, the part people know it by. */
function hintOf(target: string): string {
  const points = Array.from(target.replace(/[\u0000-\u001f\u007f]/g, "?"));
  if (Buffer.byteLength(target) <= TARGET_HINT_BYTES) return points.join("");
  while (Buffer.byteLength(points.join("")) > TARGET_HINT_BYTES - 3) points.shift();
  return `…${points.join("")}`;
}
