// What the figures must show, held against what was measured.

import type { MemoryWatch } from "./memory.ts";
import type { Results } from "./results.ts";
import type { Row, Scenario } from "./scenarios/scenario.ts";

const MEMORY_BEYOND_CACHE_BYTES = 150 * 1024 * 1024;
/** One clock tick in the time of observation. */
const IDLE_CPU_LIMIT = 0.002;
const MIB = 1024 * 1024;

export interface Target {
  readonly text: string;
  readonly figure: string;
  readonly met: boolean;
}

export interface Evidence {
  readonly scenarios: readonly Scenario[];
  readonly results: Results;
  readonly memory: MemoryWatch;
  readonly idle: ReadonlyMap<string, number>;
  readonly cacheBytes: number;
}

/** The targets for which there is evidence. */
export function judge({ scenarios, results, memory, idle, cacheBytes }: Evidence): Target[] {
  const targets: Target[] = [];
  const rows = new Map(scenarios.flatMap((scenario) => scenario.rows).map((row) => [row.name, row] as const));
  const faster = (name: string, peer: string, text: string): void => {
    const row: Row | undefined = rows.get(name);
    const ratio = row === undefined ? undefined : results.ratio(row, "h2ts", peer);
    if (ratio !== undefined) targets.push({ text, figure: `${ratio.toFixed(2)} times as fast`, met: ratio >= 1 });
  };
  faster("lookup missing", "c-null", "lookup of a missing name no slower than a null filesystem in C");
  faster("sequential write", "zfs-fuse", "sequential write faster than zfs-fuse");
  faster("warm read", "zfs-fuse", "warm read faster than zfs-fuse");
  faster("create", "zfs-fuse", "creation of small files faster than zfs-fuse");
  const limitBytes = cacheBytes + MEMORY_BEYOND_CACHE_BYTES;
  for (const { name } of scenarios) {
    const bytes = memory.bytes(name, "h2ts");
    if (bytes === undefined) continue;
    const figure = `${Math.round(bytes / MIB)} of ${Math.round(limitBytes / MIB)} MiB`;
    targets.push({ text: `memory of the daemon after ${name}`, figure, met: bytes <= limitBytes });
  }
  const cpu = idle.get("h2ts");
  if (cpu !== undefined) {
    targets.push({ text: "idle daemon", figure: `${(cpu * 100).toFixed(1)} % of a CPU`, met: cpu <= IDLE_CPU_LIMIT });
  }
  return targets;
}
