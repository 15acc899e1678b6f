// A folder for one test of the commands: runs the built programs in it, and leaves nothing mounted or running behind.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect } from "vitest";

/** Where the built programs are. */
export const DIST = resolve(import.meta.dirname, "../../dist");
const PROGRAMS = {
  h2ts: join(DIST, "src/cli.js"),
  "mkfs.h2ts": join(DIST, "mkfs/main.js"),
  "fsck.h2ts": join(DIST, "fsck/main.js"),
  "mount.h2ts": join(DIST, "src/cli/mount-helper.js"),
} as const;

/** Tests beside one may have mount namespaces, in which its mounts live on for a while: that umount waits for those is no failure. */
const WAITS = /^h2ts: .*: unmounted; waiting for the last commit, or for another mount namespace .*\n/m;

export interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Why real mounts can't be tried here; undefined when they can. */
export function mountsImpossible(): string | undefined {
  if (!existsSync("/dev/fuse")) return "/dev/fuse is missing";
  if (process.getuid?.() !== 0) return "not root";
  if (!existsSync(PROGRAMS.h2ts)) return "not built: npm run build";
  return undefined;
}

/** A zombie that nobody has reaped yet is not alive. */
export function isAlive(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

export class Place {
  /** Words behind which the programs run, as those that enter a network namespace. */
  within: readonly string[] = [];
  /** Workers practise (src/daemon/warm-up) where that is what is tested; each spends some seconds of CPU time on it. */
  practises = false;
  readonly folder = realpathSync(mkdtempSync(join(tmpdir(), "h2ts-cli-")));

  path(name: string): string {
    return join(this.folder, name);
  }

  mountPoint(name = "mnt"): string {
    mkdirSync(this.path(name), { recursive: true });
    return this.path(name);
  }

  /** Runs a program to its end, in this folder. */
  run(program: keyof typeof PROGRAMS, ...words: string[]): Promise<Outcome> {
    return this.begin(program, ...words).outcome;
  }

  /** As `run`, for whoever does something to it meanwhile. */
  begin(
    program: keyof typeof PROGRAMS,
    ...words: string[]
  ): { readonly pid: number; readonly outcome: Promise<Outcome> } {
    const mounts = program === "h2ts" && words[0] === "mount";
    const given = mounts && !this.practises ? ["mount", "-o", "nowarmup", ...words.slice(1)] : words;
    const [command = "", ...all] = [...this.within, process.execPath, PROGRAMS[program], ...given];
    const child = spawn(command, all, { cwd: this.folder, stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk) => (out += chunk));
    child.stderr.on("data", (chunk) => (err += chunk));
    const outcome = new Promise<Outcome>((settle, reject) => {
      child.on("error", reject);
      child.on("close", (code) => settle({ code, out, err: err.replace(WAITS, "") }));
    });
    return { pid: child.pid ?? 0, outcome };
  }

  /** As `run`; a failure of the program fails the test, with all that it said. */
  async succeeds(program: keyof typeof PROGRAMS, ...words: string[]): Promise<Outcome> {
    const outcome = await this.run(program, ...words);
    expect(outcome.code, `${program} ${words.join(" ")}\n${outcome.out}${outcome.err}`).toBe(0);
    return outcome;
  }

  /** Mounts still under this folder, innermost first. */
  mounts(): string[] {
    const lines = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
    const points = lines.map((line) => line.split(" ")[4] ?? "").filter((point) => point.startsWith(`${this.folder}/`));
    return points.reverse();
  }

  /** For afterEach: whatever happened, nothing stays mounted. */
  clear(): void {
    for (const point of this.mounts()) spawnSync("umount", ["-l", point]);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
