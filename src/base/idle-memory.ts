// Memory of a process that will do nothing for long: a supervisor, or a worker kept as a spare. Most of what it seems to take is
// the Node executable, which it shares with every other Node process; what it needs of it comes back, page by page, from the
// kernel's cache when the process runs again.

import { readFileSync } from "node:fs";
import { loadKoffi } from "./koffi.ts";

const MADV_DONTNEED = 4;
/** Smaller pieces are not worth a call. */
const PIECE_BYTES_MIN = 1024 * 1024;

/** Frees garbage and lets go of the pages of programs and libraries. */
export function settleDown(): void {
  // Only where the process was started with --expose-gc.
  globalThis.gc?.();
  const madvise = loadKoffi().load(null).func("int madvise(uintptr_t address, size_t bytes, int advice)");
  for (const [from, to] of unwrittenFilePages(readFileSync("/proc/self/smaps", "utf8"))) {
    if (to - from >= PIECE_BYTES_MIN) madvise(from, to - from, MADV_DONTNEED);
  }
}

/**
 * Ranges of addresses that can't be written to and are in memory as they are in their file: what they lose is read again from
 * there. `smaps`: what /proc/PID/smaps says. A range of which a page was ever written to, by the loader say, has anonymous memory.
 */
export function unwrittenFilePages(smaps: string): (readonly [from: number, to: number])[] {
  const ranges: (readonly [number, number])[] = [];
  let range: readonly [number, number] | undefined;
  for (const line of smaps.split("\n")) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S+) [0-9a-f]+ \S+ (\d+)/.exec(line);
    if (head !== null) {
      const [, from, to, rights, inode] = head as unknown as [string, string, string, string, string];
      range = /^r-.p$/.test(rights) && inode !== "0" ? [Number.parseInt(from, 16), Number.parseInt(to, 16)] : undefined;
    } else if (range !== undefined && /^Anonymous: +0 kB$/.test(line)) ranges.push(range);
  }
  return ranges;
}
