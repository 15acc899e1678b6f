// The kernel's caches of pages, names and inodes: emptied by us before cold rows, and by nobody else if the others are to be warm.

import { readFileSync, writeFileSync } from "node:fs";

/** Empties them. */
export function dropCaches(): void {
  writeFileSync("/proc/sys/vm/drop_caches", "3");
}

/** How often pages were dropped since the machine started, by anybody; 0 where the kernel does not count. */
export function timesCachesWereDropped(): number {
  return Number(/^drop_pagecache (\d+)$/m.exec(readFileSync("/proc/vmstat", "utf8"))?.[1] ?? 0);
}
