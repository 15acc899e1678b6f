// The floor under every other figure: our transport with a filesystem that does nothing, beside a C program on libfuse3 that does
// the same nothing, in turns, on all CPUs and with client and server pinned to one. Medians of several rounds.
// Without gcc and libfuse3-dev only our side is measured.

import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { unmount } from "../src/fuse/kernel/mount.ts";
import { mountAt } from "../src/fuse/kernel/mountinfo.ts";

const ROUNDS = 5;
const MOUNT_DEADLINE_MS = 5000;

export interface NullFigures {
  readonly lookupUs: number;
  readonly readMBps: number;
  readonly writeMBps: number;
}

export interface NullComparison {
  readonly pinned: boolean;
  readonly ours: NullFigures;
  /** Absent where it can't be built. */
  readonly c: NullFigures | undefined;
}

/** This file runs compiled, in dist/bench, or as it is. */
const beside = (name: string): string =>
  join(import.meta.dirname, name + (import.meta.filename.endsWith(".ts") ? ".ts" : ".js"));

function buildPeer(directory: string): string | undefined {
  const source = ["null-c/null.c", "../../bench/null-c/null.c"]
    .map((path) => join(import.meta.dirname, path))
    .find((path) => existsSync(path));
  const flags = spawnSync("pkg-config", ["--cflags", "--libs", "fuse3"], { encoding: "utf8" });
  if (source === undefined || flags.status !== 0) return undefined;
  const program = join(directory, "null-c");
  const words = flags.stdout.trim().split(/\s+/);
  return spawnSync("gcc", ["-O2", source, "-o", program, ...words]).status === 0 ? program : undefined;
}

/** A program, on one CPU when `pinned`. */
function command(pinned: boolean, ...words: string[]): [string, string[]] {
  const all = pinned ? ["taskset", "-c", "0", ...words] : words;
  return [all[0] as string, all.slice(1)];
}

class Side {
  readonly directory = mkdtempSync(join(tmpdir(), "h2ts-null-"));
  readonly samples: NullFigures[] = [];
  readonly #pinned: boolean;
  readonly #server: ChildProcess;

  constructor(pinned: boolean, ...server: string[]) {
    this.#pinned = pinned;
    this.#server = spawn(...command(pinned, ...server, this.directory), { stdio: "inherit" });
  }

  async mounted(): Promise<void> {
    const deadline = performance.now() + MOUNT_DEADLINE_MS;
    while (mountAt(this.directory) === undefined) {
      if (performance.now() > deadline) throw new Error(`the null filesystem did not appear on ${this.directory}`);
      await delay(20);
    }
  }

  measure(): void {
    const [program, words] = command(this.#pinned, process.execPath, beside("null-client"), this.directory);
    this.samples.push(JSON.parse(execFileSync(program, words, { encoding: "utf8" })) as NullFigures);
  }

  get figures(): NullFigures {
    const median = (of: (sample: NullFigures) => number): number => {
      const sorted = this.samples.map(of).sort((a, b) => a - b);
      return sorted[sorted.length >> 1] ?? 0;
    };
    return {
      lookupUs: median((s) => s.lookupUs),
      readMBps: median((s) => s.readMBps),
      writeMBps: median((s) => s.writeMBps),
    };
  }

  async close(): Promise<void> {
    const ended = new Promise((resolve) => this.#server.once("exit", resolve));
    if (mountAt(this.directory) !== undefined) await unmount(this.directory, true);
    else this.#server.kill();
    await ended;
    rmdirSync(this.directory);
  }
}

async function compare(pinned: boolean, peer: string | undefined): Promise<NullComparison> {
  const ours = new Side(pinned, process.execPath, beside("null-server"));
  const c = peer === undefined ? undefined : new Side(pinned, peer, "-f", "-s");
  const sides = c === undefined ? [ours] : [ours, c];
  try {
    for (const side of sides) await side.mounted();
    for (let round = 0; round < ROUNDS; round++) for (const side of sides) side.measure();
    return { pinned, ours: ours.figures, c: c?.figures };
  } finally {
    for (const side of sides) await side.close();
  }
}

/** Measures both settings; root only. */
export async function measureNullFileSystem(): Promise<NullComparison[]> {
  const directory = mkdtempSync(join(tmpdir(), "h2ts-null-build-"));
  try {
    const peer = buildPeer(directory);
    return [await compare(false, peer), await compare(true, peer)];
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** One line per figure: ours, the C program's, and how many times as fast ours is. */
export function nullTable(comparisons: readonly NullComparison[]): string {
  const lines = [`${"null filesystem".padEnd(36)}${"ours".padStart(10)}${"C".padStart(10)}${"times".padStart(8)}`];
  for (const { pinned, ours, c } of comparisons) {
    const where = pinned ? "one CPU" : "all CPUs";
    const row = (what: string, key: keyof NullFigures, lessIsBetter: boolean): void => {
      const peer = c?.[key];
      const times = peer === undefined ? "" : (lessIsBetter ? peer / ours[key] : ours[key] / peer).toFixed(2);
      const shown = [ours[key].toFixed(1).padStart(10), (peer?.toFixed(1) ?? "-").padStart(10), times.padStart(8)];
      lines.push(`${`${what}, ${where}`.padEnd(36)}${shown.join("")}`);
    };
    row("lookup, missing name (µs)", "lookupUs", true);
    row("sequential read (MB/s)", "readMBps", false);
    row("sequential write (MB/s)", "writeMBps", false);
  }
  return lines.join("\n");
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href)
  console.log(nullTable(await measureNullFileSystem()));
