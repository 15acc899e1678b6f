// The report of one volume as text, in the manner of zpool status: what is wrong and what to do come before the figures,
// and only when something is wrong.

import { formatByteSize } from "../base/byte-size.ts";
import type { CopyReport } from "../daemon/volume-report.ts";
import type { StatusReport } from "./status-report.ts";

interface Advice {
  readonly status: string;
  readonly action: string;
}

function advice(report: StatusReport): Advice | undefined {
  const { errors, damaged } = totals(report.copies);
  if (report.state === "READONLY") {
    return {
      status: `The volume went read-only by itself: ${report.reason ?? "a copy failed"}.`,
      action: "See to the copy named, unmount, run 'fsck.h2ts', mount again. What fsync acknowledged is safe.",
    };
  }
  if (report.dataErrors > 0) {
    return {
      status: `${count(report.dataErrors, "block has", "blocks have")} no good bytes left on any copy; reading there fails with EIO.`,
      action: "Run 'fsck.h2ts -n' on the unmounted volume to see what is lost, and restore those files from a backup.",
    };
  }
  if (errors > 0) {
    return {
      status: `${damaged} returned wrong bytes or errors; another copy served them, so no data is lost.`,
      action:
        "Watch the medium and replace it if the counts rise; 'fsck.h2ts -n' on the unmounted volume reads every block.",
    };
  }
  if (report.reason !== undefined) return { status: report.reason, action: "Nothing needs to be done." };
  return undefined;
}

function totals(copies: readonly CopyReport[]): { errors: number; damaged: string } {
  const bad = copies.filter((copy) => sum(copy.errors) > 0).map((copy) => `copy ${copy.index}`);
  return { errors: bad.length, damaged: bad.join(", ") };
}

const sum = (errors: CopyReport["errors"]): number => errors.read + errors.write + errors.checksum;
const count = (n: number, one: string, many: string): string => `${n} ${n === 1 ? one : many}`;

/** The lines of one volume. */
export function statusText(report: StatusReport): string {
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
  field("scan", "none requested");
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
  const repaired = report.copies.filter((copy) => copy.repaired > 0);
  for (const copy of repaired)
    field("note", `copy ${copy.index}: ${count(copy.repaired, "block", "blocks")} repaired since the mount`);
  const { dataErrors } = report;
  field(
    "errors",
    dataErrors === 0
      ? "No known data errors"
      : `${count(dataErrors, "data error", "data errors")}; their files give EIO`,
  );
  return lines.join("\n");
}

function table(report: StatusReport): string[] {
  const rows = [["NAME", "STATE", "READ", "WRITE", "CKSUM", "ROLE", "SIZE", "USED"]];
  rows.push([report.volume.label === "" ? "volume" : report.volume.label, report.state, "0", "0", "0", "", "", ""]);
  for (const copy of report.copies) {
    const { read, write, checksum } = copy.errors;
    const sizes = [formatByteSize(copy.sizeBytes), formatByteSize(copy.usedBytes)];
    rows.push([`  copy ${copy.index}`, copy.state, String(read), String(write), String(checksum), copy.role, ...sizes]);
    for (const target of copy.targets) rows.push([`    ${target}`, copy.state, "", "", "", "", "", ""]);
  }
  const widths = (rows[0] as string[]).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) =>
    `    ${row.map((cell, i) => (i >= 2 && i <= 4 ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0))).join("  ")}`.trimEnd(),
  );
}
