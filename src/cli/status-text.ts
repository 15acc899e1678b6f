// The report of one volume as text, in the manner of zpool status: what is wrong and what to do come before the figures,
// and only when something is wrong.

import { formatByteSize } from "../base/byte-size.ts";
import { advice } from "./status-advice.ts";
import { nodeLines } from "./node-text.ts";
import { scanText } from "./scan-text.ts";
import type { StatusReport } from "./status-report.ts";

const count = (n: number, one: string, many: string): string => `${n} ${n === 1 ? one : many}`;

/** The lines of one volume; with `verbose` a paragraph on each node. */
export function statusText(report: StatusReport, verbose = false): string {
  const { volume } = report;
  const lines: string[] = [];
  const field = (name: string, text: string): void => void lines.push(`${name.padStart(7)}: ${text}`);
  field("volume", volume.label === "" ? volume.uuid : `${volume.label} (${volume.uuid})`);
  field("state", report.state);
  const problem = advice(report);
  if (problem) {
    field("status", problem.status);
    field("action", problem.action);
  }
  for (const scan of report.scans) field("scan", scanText(scan));
  if (report.scans.length === 0) field("scan", "none requested");
  if (report.mount) {
    field(
      "mount",
      `${report.mount.directory} (${report.readOnly ? "read-only" : "read-write"}, ${report.mount.transport} transport)`,
    );
  }
  const free = `${formatByteSize(volume.usedBytes)} used, ${formatByteSize(volume.freeBytes)} free`;
  field(
    "space",
    `${formatByteSize(volume.sizeBytes)}, ${free}, ${count(volume.inodes, "inode", "inodes")}, check ${volume.checkType}`,
  );
  lines.push("config:", "", ...table(report), "");
  if (verbose) lines.push(...report.copies.flatMap(nodeLines), "");
  for (const { index, note, missingBytes = 0 } of report.copies) {
    if (note !== undefined) field("note", `copy ${index}: ${note}${lacks(missingBytes)}`);
  }
  const repaired = report.copies.filter((copy) => copy.repaired > 0);
  for (const copy of repaired)
    field("note", `copy ${copy.index}: ${count(copy.repaired, "block", "blocks")} repaired so far`);
  const { dataErrors } = report;
  field(
    "errors",
    dataErrors === 0
      ? "No known data errors"
      : `${count(dataErrors, "data error", "data errors")}; their files give EIO`,
  );
  return lines.join("\n");
}

const lacks = (bytes: number): string => (bytes === 0 ? "" : `; lacks about ${formatByteSize(bytes)}`);

/** That of its copy, unless the operator named a node only: the others of a row are used, or open for reading in need. */
function nodeState({ state, nodes }: StatusReport["copies"][number], position: number): string {
  if (nodes.every(({ held }) => held === undefined)) return state;
  return nodes[position]?.held ?? (state === "FROZEN" ? "ONLINE" : "STANDBY");
}

function table(report: StatusReport): string[] {
  const rows = [["NAME", "STATE", "READ", "WRITE", "CKSUM", "ROLE", "SIZE", "USED"]];
  rows.push([report.volume.label === "" ? "volume" : report.volume.label, report.state, "0", "0", "0", "", "", ""]);
  for (const copy of report.copies) {
    const { read, write, checksum } = copy.errors;
    const sizes = [formatByteSize(copy.sizeBytes), formatByteSize(copy.usedBytes)];
    rows.push([`  copy ${copy.index}`, copy.state, String(read), String(write), String(checksum), copy.role, ...sizes]);
    for (const [position, target] of copy.targets.entries())
      rows.push([`    ${target}`, nodeState(copy, position), "", "", "", "", "", ""]);
  }
  const widths = (rows[0] as string[]).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) =>
    `    ${row.map((cell, i) => (i >= 2 && i <= 4 ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0))).join("  ")}`.trimEnd(),
  );
}
