// What a mount that succeeded warns of: copies that are not in sync.

import type { VolumeReport } from "./volume-report.ts";

/** One line when the volume comes up degraded, naming every copy concerned. */
export function mountWarnings(report: VolumeReport): string[] {
  if (report.state !== "DEGRADED") return [];
  const copies = report.copies
    .filter(({ state }) => state !== "ONLINE")
    .map(({ index, state, targets, note }) => {
      const where = targets.length === 0 ? "" : ` (${targets.join("+")})`;
      return `copy ${index}${where} is ${state}${note === undefined ? "" : `: ${note}`}`;
    });
  return [`mounted degraded: ${copies.join("; ")}; h2ts status tells more`];
}
