// What a mount that succeeded warns of: copies that are not in sync.

import type { VolumeReport } from "./volume-report.ts";

/** One line when the volume comes up degraded, naming every copy concerned, and why targets given were left out. */
export function mountWarnings(report: VolumeReport, absent: readonly string[]): string[] {
  if (report.state !== "DEGRADED") return [];
  const copies = report.copies
    .filter(({ state }) => state !== "ONLINE")
    .map(({ index, state, targets, note }) => {
      const where = targets.length === 0 ? "" : ` (${targets.join("+")})`;
      return `copy ${index}${where} is ${state}${note === undefined ? "" : `: ${note}`}`;
    });
  const leftOut = absent.map((line) => ` (${line})`).join("");
  return [`mounted degraded: ${copies.join("; ")}${leftOut}; h2ts status tells more`];
}
