// What the mount table shows as the source of a volume: the targets of its copies. It is for people, and for mount(8), which knows a
// line of fstab again by it; a volume may have more of them than there is room for.

import { createHash } from "node:crypto";

/**
 * Bytes there is room for. The kernel takes as many as a path may have. fusermount3 does, too, but to unmount it reads the table by
 * getmntent(3), which loses lines of more than 4095 bytes, with folder, options and what is escaped. fuse-native has 1023 for all
 * options of a mount together, in which commas count twice.
 */
export const SOURCE_BYTES_MAX = { kernel: 4095, fusermount: 2048, "fuse-native": 400 } as const;

/** The targets, or as much of them as there is room for; then with a word at the end that other targets do not get. */
export function mountSource(targets: string, bytesMax: number): string {
  const bytes = Buffer.from(targets);
  if (bytes.length <= bytesMax) return targets;
  const mark = `…${createHash("sha256").update(bytes).digest("hex").slice(0, 16)}`;
  let end = bytesMax - Buffer.byteLength(mark);
  // No character is cut in two.
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString("utf8", 0, end) + mark;
}
