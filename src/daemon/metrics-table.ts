// The table of metrics as docs/operation.md holds it; a test compares the two.

import { METRICS } from "./metric-list.ts";

/** Markdown, one row for each metric. */
export function metricsTable(): string {
  const rows = METRICS.map(({ name, type, labels, help }) => {
    const names = labels.map((label) => `\`${label}\``).join(", ");
    return `| \`${name}\` | ${type} | ${names} | ${help} |`;
  });
  return ["| metric | type | labels | what it says |", "|---|---|---|---|", ...rows].join("\n");
}
