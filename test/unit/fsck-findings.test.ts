// The table of findings: ids, the document, and a fixture for each kind.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { RECIPES } from "../../fixtures/generate-corrupt.ts";
import { FINDINGS, type FindingName, findingId } from "../../fsck/findings.ts";
import { findingsTable } from "../../fsck/findings-table.ts";

/**
 * Kinds that no image alone can show: too few targets, silent ones, too many findings, errors met in use; and the log
 * (test/sim/log.test.ts).
 */
const WITHOUT_FIXTURE: readonly FindingName[] = [
  "copy-absent",
  "copy-failed", // test/sim/fsck-hung.test.ts
  "block-unseen", // the same
  "copy-behind",
  "block-absent",
  "truncated",
  "errors-counted",
  "orphan-pending",
  "log-pending",
  "log-lost",
  "log-dropped", // test/sim/fsck-log.test.ts
];

test("numbers are given out once, ids have their stable form", () => {
  const names = Object.keys(FINDINGS) as FindingName[];
  expect(new Set(names.map((name) => FINDINGS[name].number)).size).toBe(names.length);
  for (const name of names) expect(findingId(name)).toMatch(/^H2F-\d{3}-[a-z-]+$/);
  expect(findingId("link-count")).toBe("H2F-079-link-count");
});

test("docs/fsck.md holds the table as it is", () => {
  const text = readFileSync(join(import.meta.dirname, "../../docs/fsck.md"), "utf8");
  expect(text).toContain(findingsTable());
});

test("every kind has a fixture that shows it", () => {
  const shown = new Set([...RECIPES.flatMap(({ finds }) => finds), ...WITHOUT_FIXTURE]);
  expect((Object.keys(FINDINGS) as FindingName[]).filter((name) => !shown.has(name))).toEqual([]);
});
