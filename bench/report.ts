// The report: medians, ratios and targets, as text or as JSON.

import type { Peer } from "./peers/peer.ts";
import { geometricMean } from "./results.ts";
import type { Row } from "./scenarios/scenario.ts";
import type { Evidence, Target } from "./targets.ts";

export interface Report extends Evidence {
  readonly peers: readonly Peer[];
  readonly absent: ReadonlyMap<string, string>;
  readonly targets: readonly Target[];
}

const BASE = "btrfs";
const OURS = "h2ts";
const MIB = 1024 * 1024;

function shortNumber(value: number | undefined): string {
  if (value === undefined) return "-";
  if (value >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(value >= 10 ? 1 : 2);
}

const ratioText = (ratio: number | undefined): string => (ratio === undefined ? "-" : ratio.toFixed(2));

/** Columns as wide as their widest cell, the first to the left and the others to the right. */
function table(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map((line) => (line[column] ?? "").length)));
  const cell = (text: string, column: number): string =>
    column === 0 ? text.padEnd(widths[column] as number) : text.padStart(widths[column] as number);
  return lines.map((line) => line.map(cell).join("  ").trimEnd()).join("\n");
}

const rowsOf = (report: Report): Row[] => report.scenarios.flatMap((scenario) => scenario.rows);

function mediansTable(report: Report): string {
  const { peers, results } = report;
  const head = ["median", "unit", ...peers.map(({ name }) => name)];
  const body = rowsOf(report).map(({ name, unit }) => [
    name,
    unit,
    ...peers.map((peer) => shortNumber(results.median(name, peer.name))),
  ]);
  return table([head, ...body]);
}

function ratiosTable(report: Report): string {
  const { peers, results } = report;
  const columns: [text: string, peer: string, base: string][] = [];
  for (const { name } of peers) if (name !== BASE) columns.push([`${name}/${BASE}`, name, BASE]);
  for (const { name } of peers) if (name !== BASE && name !== OURS) columns.push([`${OURS}/${name}`, OURS, name]);
  const kept = columns.filter(([, peer, base]) =>
    rowsOf(report).some((row) => results.ratio(row, peer, base) !== undefined),
  );
  const ratios = rowsOf(report).map((row) => kept.map(([, peer, base]) => results.ratio(row, peer, base)));
  const body = rowsOf(report).map((row, i) => [row.name, ...(ratios[i] ?? []).map(ratioText)]);
  const means = kept.map((_, column) =>
    geometricMean(ratios.map((line) => line[column]).filter((ratio) => ratio !== undefined)),
  );
  const head = ["times as fast", ...kept.map(([text]) => text)];
  return table([head, ...body, ["geometric mean", ...means.map(ratioText)]]);
}

function memoryTable({ peers, scenarios, memory }: Report): string {
  const served = peers.filter((peer) => scenarios.some(({ name }) => memory.bytes(name, peer.name) !== undefined));
  const body = scenarios.map(({ name }) => [
    name,
    ...served.map((peer) => shortNumber((memory.bytes(name, peer.name) ?? Number.NaN) / MIB).replace("NaN", "-")),
  ]);
  return table([["memory, MiB", ...served.map(({ name }) => name)], ...body]);
}

export function asText(report: Report): string {
  const { peers, absent, idle, targets, results } = report;
  const parts = [
    peers.map(({ name, description }) => `${name}: ${description}`).join("\n"),
    ...[...absent].map(([name, reason]) => `${name}: not measured: ${reason}`),
    mediansTable(report),
    ratiosTable(report),
    memoryTable(report),
    [...idle].map(([name, cpu]) => `idle ${name}: ${(cpu * 100).toFixed(1)} % of a CPU`).join("\n"),
    targets.map(({ text, figure, met }) => `${met ? "met   " : "MISSED"}  ${text}: ${figure}`).join("\n"),
    results.notes.map((note) => `note: ${note}`).join("\n"),
  ];
  return parts.filter((part) => part !== "").join("\n\n");
}

export function asJson(report: Report): string {
  const { peers, absent, scenarios, results, memory, idle, targets } = report;
  const byPeer = <T>(value: (peer: string) => T): Record<string, T> =>
    Object.fromEntries(peers.map(({ name }) => [name, value(name)] as const));
  const value = {
    peers: byPeer((name) => peers.find((peer) => peer.name === name)?.description),
    absent: Object.fromEntries(absent),
    rows: rowsOf(report).map((row) => ({
      ...row,
      values: byPeer((name) => results.values(row.name, name)),
      median: byPeer((name) => results.median(row.name, name)),
      ratioToBtrfs: byPeer((name) => results.ratio(row, name, BASE)),
      h2tsRatio: byPeer((name) => results.ratio(row, OURS, name)),
    })),
    memoryBytes: Object.fromEntries(scenarios.map(({ name }) => [name, byPeer((peer) => memory.bytes(name, peer))])),
    idleCpu: Object.fromEntries(idle),
    targets,
    notes: results.notes,
  };
  return JSON.stringify(value, undefined, 2);
}
