// Prints "N passed, N failed" (and ", N skipped") from vitest's JSON report. A file that could not even be loaded counts
// as one failure; a run without any test is one too.

import { readFileSync } from "node:fs";
import { z } from "zod";

const Report = z.object({
  testResults: z.array(z.object({ status: z.string(), assertionResults: z.array(z.object({ status: z.string() })) })),
});

const path = process.argv[2] ?? "";
let counts = { passed: 0, failed: 1, skipped: 0 };
try {
  const { testResults } = Report.parse(JSON.parse(readFileSync(path, "utf8")));
  const states = testResults.flatMap((file) => file.assertionResults.map((test) => test.status));
  const broken = testResults.filter(
    (file) => file.status === "failed" && !file.assertionResults.some((t) => t.status === "failed"),
  );
  const passed = states.filter((state) => state === "passed").length;
  const failed = states.filter((state) => state === "failed").length + broken.length;
  counts = {
    passed,
    failed: passed + failed === 0 ? 1 : failed,
    skipped: states.length - passed - states.filter((s) => s === "failed").length,
  };
} catch (error) {
  console.error(`the tests left no report: ${error instanceof Error ? error.message : String(error)}`);
}
console.log(
  `${counts.passed} passed, ${counts.failed} failed${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ""}`,
);
process.exitCode = counts.failed === 0 ? 0 : 1;
