// What a worker that practises has open, seen from outside.

import { readdirSync, readlinkSync } from "node:fs";

/** How many files of a practice volume a process has open. */
export function practiceFiles(pid: number | "self" = "self"): number {
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`).includes("h2ts practice");
    } catch {
      return false; // Closed just now, or that of the listing itself.
    }
  }).length;
}
