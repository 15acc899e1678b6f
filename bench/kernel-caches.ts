// The kernel's caches of pages, names and inodes: emptied by us before cold rows, and by nobody else if the others are to be warm.
// And the memory that they get.

import { readFileSync, writeFileSync } from "node:fs";

/** Empties them. */
export function dropCaches(): void {
  writeFileSync("/proc/sys/vm/drop_caches", "3");
}

/**
 * Puts free pages together. Those of one file, freed in whatever order, make up the next: what is cached in scattered pages is read
 * a tenth to a fifth slower, and what comes to lie so would depend on what was measured before. Nothing where the kernel can't.
 */
export function compactMemory(): void {
  try {
    writeFileSync("/proc/sys/vm/compact_memory", "1");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

/** How often pages were dropped since the machine started, by anybody; 0 where the kernel does not count. */
export function timesCachesWereDropped(): number {
  return Number(/^drop_pagecache (\d+)$/m.exec(readFileSync("/proc/vmstat", "utf8"))?.[1] ?? 0);
}
