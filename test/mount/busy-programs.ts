// Real programs at work on a mount, round after round, until they are told to stop: each fails as soon as anything is not
// as it was written. For tests that do something to the volume meanwhile.

import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import type { Random } from "../../src/base/random.ts";
import { run } from "./data-programs.ts";
import { fioVerify } from "./data-workloads.ts";

const TREE = { folders: 12, filesEach: 15, fileBytesMax: 40_000 };
const FIO_MIB = 6;
const SQLITE = { transactions: 12, rowsEach: 40 };

const REST_MS_MAX = 1000;

/** One program, run round after round beside everything else. */
export class BusyProgram {
  readonly name: string;
  /** Rounds that are over. */
  rounds = 0;
  /** The longest one. */
  longestMs = 0;
  failure: unknown;
  readonly #round: (number: number) => Promise<void>;
  #stopped = false;
  #going: Promise<void> = Promise.resolve();

  constructor(name: string, round: (number: number) => Promise<void>) {
    this.name = name;
    this.#round = round;
  }

  start(): void {
    this.#going = this.#run().catch((error: unknown) => {
      this.failure = error;
    });
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const startedMs = performance.now();
      await this.#round(this.rounds);
      const tookMs = performance.now() - startedMs;
      this.longestMs = Math.max(this.longestMs, tookMs);
      this.rounds++;
      // Together they are at work all the time, and leave what they disturb a processor.
      await sleep(Math.min(tookMs, REST_MS_MAX));
    }
  }

  /** Throws what went wrong so far. */
  check(): void {
    if (this.failure !== undefined) throw new Error(`${this.name}, round ${this.rounds}`, { cause: this.failure });
  }

  /** Resolves after the round under way; throws what went wrong in any. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#going;
    this.check();
    expect(this.rounds, `rounds of ${this.name}`).toBeGreaterThan(0);
  }
}

const isHere = (tool: string): boolean => spawnSync(tool, ["--version"], { stdio: "ignore" }).error === undefined;

/** The programs that are on this machine, working in folders of their own below `folder`; `scratch` lies elsewhere. */
export function busyPrograms(folder: string, scratch: string, random: Random): BusyProgram[] {
  const made: [tools: readonly string[], make: () => BusyProgram][] = [
    [["tar", "diff"], () => untar(join(folder, "untar"), join(scratch, "source"), random)],
    [["rsync"], () => rsync(join(folder, "rsync"), join(scratch, "source"))],
    [["git"], () => git(join(folder, "git"), join(scratch, "source"))],
    [["sqlite3"], () => sqlite(join(folder, "rows.db"))],
    [["fio"], () => new BusyProgram("fio", (n) => fioRound(join(folder, "fio"), n, scratch))],
  ];
  return made.filter(([tools]) => tools.every(isHere)).map(([, make]) => make());
}

/** Folders of files of all sizes, and links. */
function makeTree(at: string, random: Random): void {
  for (let folder = 0; folder < TREE.folders; folder++) {
    const path = join(at, `folder-${folder}`, `below-${random.below(100)}`);
    mkdirSync(path, { recursive: true });
    for (let file = 0; file < TREE.filesEach; file++) {
      const bytes = random.below(3) === 0 ? random.below(600) : random.below(TREE.fileBytesMax);
      writeFileSync(join(path, `file-${file}`), random.bytes(bytes));
    }
    symlinkSync(`file-${folder}`, join(path, "link"));
  }
}

/** Unpacks a tree and compares it; the one before is removed. */
function untar(folder: string, source: string, random: Random): BusyProgram {
  makeTree(source, random);
  const archive = `${source}.tar`;
  return new BusyProgram("tar", async (n) => {
    if (n === 0) await run("tar", ["-cf", archive, "-C", source, "."]);
    const target = join(folder, String(n));
    mkdirSync(target, { recursive: true });
    await run("tar", ["-xf", archive, "-C", target]);
    await run("diff", ["-r", "--no-dereference", source, target]);
    await rm(join(folder, String(n - 1)), { recursive: true, force: true });
  });
}

/** Brings the target to what the source is, of which a part changed, and has the content compared; then takes it all away. */
function rsync(target: string, source: string): BusyProgram {
  const words = ["-aHAX", "--delete"];
  return new BusyProgram("rsync", async (n) => {
    // All of it now and then, else one folder more or less than before.
    const from = n % 4 === 0 ? source : join(source, `folder-${n % TREE.folders}`);
    await run("rsync", [...words, `${from}/`, `${target}/`]);
    expect(await run("rsync", [...words, "-i", "--checksum", `${from}/`, `${target}/`])).toBe("");
  });
}

/** A new repository, two branches, and a check of all its objects. */
function git(folder: string, source: string): BusyProgram {
  const who = ["-c", "safe.directory=*", "-c", "user.name=t", "-c", "user.email=t@example.org"];
  return new BusyProgram("git", async (n) => {
    const repository = join(folder, String(n));
    const git = (...words: string[]): Promise<string> => run("git", [...who, "-C", repository, ...words]);
    await run("git", ["init", "-q", "-b", "main", repository]);
    await run("cp", ["-a", join(source, "folder-0"), join(source, "folder-1"), repository]);
    await git("add", "-A");
    await git("commit", "-qm", "all");
    await git("checkout", "-q", "-b", "work");
    await run("sh", ["-c", 'for f in folder-0/*/file-*; do echo more >>"$f"; done; git mv folder-1 moved'], repository);
    await git("commit", "-qam", "changed");
    await git("checkout", "-q", "main");
    await git("checkout", "-q", "work");
    expect(await git("status", "--porcelain")).toBe("");
    await git("fsck", "--strict");
    await rm(join(folder, String(n - 1)), { recursive: true, force: true });
  });
}

/** Transactions through a write-ahead log, into one database all the time; checked as a whole after each round. */
function sqlite(file: string): BusyProgram {
  const one = `
    BEGIN;
    WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ${SQLITE.rowsEach})
      INSERT INTO t (a, b) SELECT hex(randomblob(20)), randomblob(x * 7 % 900) FROM n;
    COMMIT;`;
  const sql = `
    PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, a TEXT, b BLOB);
    CREATE INDEX IF NOT EXISTS i ON t (a);
    ${one.repeat(SQLITE.transactions)}
    DELETE FROM t WHERE id % 3 = 0 AND id < (SELECT max(id) FROM t) - 2000;
    PRAGMA integrity_check;`;
  return new BusyProgram("sqlite3", async () => {
    const out = await run("sqlite3", [file, sql]);
    expect(out.trim().split("\n")).toEqual(["wal", "ok"]);
  });
}

function fioRound(file: string, n: number, scratch: string): Promise<void> {
  return fioVerify(file, n % 2 === 0 ? "psync" : "libaio", FIO_MIB, scratch);
}
