// Real programs at work on a mount: each function does one thing users do, in the amount asked for, and fails unless
// everything went right. Shared by the ordinary run, in small, and by the acceptance run, in full.

import { existsSync, opendirSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { expect } from "vitest";
import { run } from "./data-programs.ts";
import { S, sys } from "./posix-system.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
const IDENTITY = ["-c", "safe.directory=*", "-c", "user.name=t", "-c", "user.email=t@example.org"];
/** What is made from the rest. */
const MADE = ["node_modules", "dist", ".git", "demo"];

/** Copies this project's own files. */
export async function copyProject(to: string): Promise<void> {
  await run("rsync", ["-a", ...MADE.map((name) => `--exclude=/${name}`), `${PROJECT}/`, `${to}/`]);
}

/** Clones this project from `origin`, which is made, into `clone`; branches, changes, commits, packs and checks. */
export async function gitAtWork(origin: string, clone: string): Promise<void> {
  const git = (folder: string, ...words: string[]): Promise<string> =>
    run("git", [...IDENTITY, "-C", folder, ...words]);
  // A fresh checkout may be shallow or have no history at all; so a repository is made of its files.
  await run("git", ["init", "-q", "-b", "main", origin]);
  await copyProject(origin);
  await git(origin, "add", "-A");
  await git(origin, "commit", "-qm", "all");
  await run("git", ["clone", "-q", origin, clone]);
  await git(clone, "checkout", "-q", "-b", "work");
  await run("sh", ["-c", 'for f in src/*/*.ts; do echo "// $f" >>"$f"; done; git mv README.md R.md'], clone);
  await git(clone, "commit", "-qam", "changed");
  await git(clone, "checkout", "-q", "main");
  expect(existsSync(`${clone}/README.md`)).toBe(true);
  await git(clone, "checkout", "-q", "work");
  expect(await git(clone, "status", "--porcelain")).toBe("");
  await git(clone, "gc", "-q");
  await git(clone, "fsck", "--strict");
}

/** Inserts, changes and deletes rows in a new database, with an index, and has it checked. */
export async function sqliteRows(file: string, journal: "WAL" | "DELETE", rows: number): Promise<void> {
  const sql = `
    PRAGMA journal_mode=${journal};
    CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b BLOB);
    CREATE INDEX i ON t (a);
    WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x < ${rows})
      INSERT INTO t SELECT x, printf('row %d', x * 7919 % 100003), randomblob(x % 50) FROM n;
    UPDATE t SET a = a || '!' WHERE id % 5 = 0;
    DELETE FROM t WHERE id % 97 = 0;
    PRAGMA integrity_check;
    SELECT count(*) FROM t;`;
  const out = await run("sqlite3", [file, sql]);
  expect(out.trim().split("\n")).toEqual([journal.toLowerCase(), "ok", String(rows - Math.floor(rows / 97))]);
}

/** Ways of writing that fio knows, each with sizes it can do. */
const FIO_ENGINES = {
  psync: ["--bsrange=512-64k", "--bs_unaligned=1"],
  mmap: ["--bs=4k"],
  libaio: ["--bs=4k", "--direct=1", "--iodepth=16"],
} as const;
export type FioEngine = keyof typeof FIO_ENGINES;

/** Random writes, then every block written is read back and verified. */
export async function fioVerify(file: string, engine: FioEngine, sizeMib: number, scratch: string): Promise<void> {
  const words = ["--name=v", `--filename=${file}`, `--ioengine=${engine}`, "--rw=randwrite", ...FIO_ENGINES[engine]];
  const check = ["--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--verify_state_save=0", "--randseed=7"];
  await run("fio", [...words, `--size=${sizeMib}m`, ...check, "--fsync=500"], scratch);
}

/** Copies a tree as backups are made, then asks for what is left to do: nothing. */
export async function rsyncTwice(source: string, target: string): Promise<void> {
  const words = ["-aHAXS", "--numeric-ids"];
  await run("rsync", [...words, `${source}/`, `${target}/`]);
  expect(await run("rsync", [...words, "-i", "--checksum", `${source}/`, `${target}/`])).toBe("");
}

/** Makes `count` names in an empty folder, lists them, and deletes each as it is listed while others come; then the folder. */
export function manyNames(folder: string, count: number): void {
  for (let i = 0; i < count; i++) sys.mknod(`${folder}/name${i}`, S.REGULAR | 0o644);
  const all = readdirSync(folder);
  expect(new Set(all).size).toBe(count);
  expect(all.length).toBe(count);
  // Deleting what was just listed must not hide or repeat any other name.
  const seen = new Set<string>();
  const directory = opendirSync(folder, { bufferSize: 64 });
  for (let entry = directory.readSync(); entry !== null; entry = directory.readSync()) {
    expect(seen.has(entry.name), entry.name).toBe(false);
    seen.add(entry.name);
    sys.unlink(`${folder}/${entry.name}`);
    if (seen.size % 100 === 0) sys.mknod(`${folder}/late${seen.size}`, S.FIFO | 0o600);
  }
  directory.closeSync();
  const old = [...seen].filter((name) => name.startsWith("name"));
  expect(old.length).toBe(count);
  for (const name of readdirSync(folder)) sys.unlink(`${folder}/${name}`);
  expect(sys.lstat(folder)).toMatchObject({ nlink: 2 });
  sys.rmdir(folder);
}
