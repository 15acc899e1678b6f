// The table of findings as docs/fsck.md holds it; a test compares the two.

import { FINDINGS, type FindingName, findingId, type RepairClass } from "./findings.ts";

const REPAIRS: Readonly<Record<RepairClass, string>> = { safe: "`-p`, `-y`", full: "`-y`", none: "no" };

/** Markdown, one row per kind in the order of their numbers. */
export function findingsTable(): string {
  const names = (Object.keys(FINDINGS) as FindingName[]).sort((a, b) => FINDINGS[a].number - FINDINGS[b].number);
  const rows = names.map((name) => {
    const { severity, repair, meaning, instead } = FINDINGS[name];
    const by = instead === undefined ? REPAIRS[repair] : `${REPAIRS[repair]}: ${instead}`;
    return `| \`${findingId(name)}\` | ${severity} | ${by} | ${meaning} |`;
  });
  return ["| id | severity | repaired by | what is wrong |", "|---|---|---|---|", ...rows].join("\n");
}
