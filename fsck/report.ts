// What fsck says: lines for people, or one JSON object.

import pc from "picocolors";
import { formatUuid } from "../src/base/uuid.ts";
import type { CopySet } from "../src/copies/copy-set.ts";
import type { Finding } from "./finding-list.ts";
import { ExitBit, type FsckOutcome } from "./fsck.ts";

function findingLine({ id, severity, message }: Finding): string {
  const text = `${id}: ${message}`;
  if (severity === "note") return text;
  return severity === "loss" ? pc.red(text) : pc.yellow(text);
}

/** One word for the state the volume is left in. */
function stateOf(outcome: FsckOutcome): "clean" | "corrected" | "errors" {
  if ((outcome.exitCode & ExitBit.UNCORRECTED) !== 0) return "errors";
  return (outcome.exitCode & ExitBit.CORRECTED) !== 0 ? "corrected" : "clean";
}

/** The findings, what became of them, and a last line with the verdict. */
export function reportLines(copies: CopySet, outcome: FsckOutcome): string[] {
  const name = `volume ${formatUuid(copies.volumeUuid)}`;
  if (outcome.light) return [`${name}: clean (-f checks everything)`];
  const left = new Set(outcome.left.map(({ message }) => message));
  const lines = outcome.findings.map((finding) => {
    const done = outcome.rounds > 0 && !left.has(finding.message);
    return done ? `${findingLine(finding)} ${pc.green("(repaired)")}` : findingLine(finding);
  });
  const first = new Set(outcome.findings.map(({ message }) => message));
  for (const finding of outcome.left) if (!first.has(finding.message)) lines.push(findingLine(finding));
  for (const { message } of outcome.failures) lines.push(pc.red(`repair failed: ${message}`));
  const errors = outcome.left.filter(({ severity }) => severity !== "note");
  if (errors.length === 0) {
    lines.push(`${name}: ${stateOf(outcome) === "corrected" ? "repaired, now clean" : "clean"}`);
    return lines;
  }
  const hopeful = errors.filter(({ repairable }) => repairable).length;
  const advice = hopeful > 0 && outcome.rounds === 0 ? `; ${hopeful} can be repaired with -y` : "";
  lines.push(`${name}: ${errors.length} ${errors.length === 1 ? "error" : "errors"} left${advice}`);
  return lines;
}

function findingObject(finding: Finding): object {
  const { id, severity, repairable, message, copy, ino } = finding;
  return { id, severity, repairable, message, ...(copy !== undefined && { copy }), ...(ino !== undefined && { ino }) };
}

export function reportObject(copies: CopySet, outcome: FsckOutcome): object {
  return {
    state: stateOf(outcome),
    exitCode: outcome.exitCode,
    light: outcome.light,
    volume: { uuid: formatUuid(copies.volumeUuid) },
    copies: copies.copies.map(({ index, targets, sizeKib, repaired }) => ({ index, targets, sizeKib, repaired })),
    findings: outcome.findings.map(findingObject),
    left: outcome.left.map(findingObject),
    failures: outcome.failures.map(({ message }) => message),
  };
}
