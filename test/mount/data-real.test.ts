// Real data: a tree by rsync, git, SQLite and fio on two copies of unequal size; then unmount, check, remount, compare; and
// with one block of each image in turn overwritten by garbage, everything reads right and the copy is good again on media.

import { closeSync, existsSync, fstatSync, openSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import type { VolumeReport } from "../../src/daemon/volume-report.ts";
import { mountsImpossible } from "./cli-place.ts";
import { describeTree, expectSameTree, run } from "./data-programs.ts";
import { MountedVolume } from "./posix-mounted.ts";
import { S, sys } from "./posix-system.ts";

const PROJECT = resolve(import.meta.dirname, "../..");
/** A tree that every Debian has, large enough to be real and small enough for each run. */
const REAL_TREE =
  ["/usr/share/perl", "/usr/share/zoneinfo", "/usr/lib/python3"].find((path) => existsSync(path)) ?? "/etc";
const SQLITE_ROWS = 200_000;
const MIB = 2 ** 20;

describe.skipIf(mountsImpossible() !== undefined)("real data on two copies", () => {
  let volume: MountedVolume;
  let kept: Map<string, string>;

  beforeAll(async () => {
    volume = await MountedVolume.create("kernel");
  });
  afterAll(() => volume?.destroy());

  it("rsync -aHAX of a real tree keeps every attribute", async () => {
    const source = `${volume.place.folder}/source`;
    sys.mkdir(source);
    await run("cp", ["-a", REAL_TREE, `${source}/tree`]);
    decorate(source);
    const target = `${volume.directory}/rsync`;
    await run("rsync", ["-aHAX", "--numeric-ids", `${source}/`, `${target}/`]);
    const expected = describeTree(source);
    expect(expected.size).toBeGreaterThan(100);
    expectSameTree(describeTree(target), expected);
    volume.dropCaches();
    expectSameTree(describeTree(target), expected);
    // Nothing to do a second time.
    const again = await run("rsync", ["-aHAXi", "--numeric-ids", "--checksum", `${source}/`, `${target}/`]);
    expect(again).toBe("");
  });

  it("git clones, checks out and commits", async () => {
    const clone = `${volume.directory}/clone`;
    const git = (...words: string[]): Promise<string> =>
      run("git", [
        "-c",
        "safe.directory=*",
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@example.org",
        "-C",
        clone,
        ...words,
      ]);
    // A fresh checkout may be shallow or have no history at all; then this repository is made of its files.
    const origin = `${volume.place.folder}/origin`;
    await run("git", ["init", "-q", "-b", "main", origin]);
    await run("rsync", [
      "-a",
      "--exclude",
      "node_modules",
      "--exclude",
      "dist",
      "--exclude",
      ".git",
      "--exclude",
      "demo",
      `${PROJECT}/`,
      `${origin}/`,
    ]);
    const commit = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-C", origin];
    await run("git", [...commit, "add", "-A"]);
    await run("git", [...commit, "commit", "-qm", "all"]);
    await run("git", ["clone", "-q", origin, clone]);
    await git("checkout", "-q", "-b", "work");
    await run("sh", ["-c", 'for f in src/*/*.ts; do echo "// $f" >>"$f"; done; git mv README.md R.md'], clone);
    await git("commit", "-qam", "changed");
    await git("checkout", "-q", "main");
    expect(existsSync(`${clone}/README.md`)).toBe(true);
    await git("checkout", "-q", "work");
    expect(await git("status", "--porcelain")).toBe("");
    await git("gc", "-q");
    await git("fsck", "--strict");
  });

  it("SQLite keeps 200,000 rows", async () => {
    const sql = (journal: string): string => `
      PRAGMA journal_mode=${journal};
      CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b BLOB);
      CREATE INDEX i ON t (a);
      WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x < ${SQLITE_ROWS / 2})
        INSERT INTO t SELECT x, printf('row %d', x * 7919 % 100003), randomblob(x % 50) FROM n;
      UPDATE t SET a = a || '!' WHERE id % 5 = 0;
      DELETE FROM t WHERE id % 97 = 0;
      PRAGMA integrity_check;
      SELECT count(*) FROM t;`;
    for (const journal of ["WAL", "DELETE"]) {
      const out = await run("sqlite3", [`${volume.directory}/${journal}.db`, sql(journal)]);
      const rows = SQLITE_ROWS / 2 - Math.floor(SQLITE_ROWS / 2 / 97);
      expect(out.trim().split("\n")).toEqual([journal.toLowerCase(), "ok", String(rows)]);
    }
  });

  it("fio verifies what it wrote at random", async () => {
    for (const engine of ["psync", "mmap"]) {
      const words = [
        "--name=v",
        `--filename=${volume.directory}/fio-${engine}`,
        `--ioengine=${engine}`,
        "--rw=randwrite",
        "--bsrange=512-64k",
        "--bs_unaligned=1",
        "--size=64m",
        "--verify=crc32c",
        "--do_verify=1",
        "--verify_fatal=1",
        "--verify_state_save=0",
        "--randseed=7",
        "--fsync=500",
      ];
      if (engine === "mmap") words.splice(4, 2, "--bs=4k");
      await run("fio", words, volume.place.folder);
    }
  });

  it("is all there after unmount, check and mount", async () => {
    kept = describeTree(volume.directory);
    await volume.unmount();
    await volume.check();
    await volume.mount();
    expectSameTree(describeTree(volume.directory), kept);
  });

  it.each([0, 1])("reads right with garbage in copy %d, which is repaired", async (spoiled) => {
    await volume.unmount();
    const image = volume.images[spoiled] as string;
    spoil(image, 100 + spoiled);
    const found = await volume.place.run("fsck.h2ts", "-n", "-f", ...volume.images);
    expect(found.code).toBe(4);
    await volume.mount();
    expectSameTree(describeTree(volume.directory), kept);
    const report = (await volume.status()) as VolumeReport;
    expect(report.state).toBe("ONLINE");
    expect(report.copies[1 - spoiled]?.errors).toEqual({ read: 0, write: 0, checksum: 0 });
    await volume.unmount();
    // What a mount reads of one copy only is looked at by fsck, which repairs it.
    expect((await volume.place.run("fsck.h2ts", "-p", "-f", ...volume.images)).code).toBeLessThanOrEqual(1);
    await volume.check();
    await volume.mount();
  });
});

/** What the real tree may lack: links, owners, times with nanoseconds, xattrs, ACLs, holes, every kind of node, odd names. */
function decorate(source: string): void {
  const d = `${source}/odd`;
  sys.mkdir(d, 0o2775);
  for (let i = 0; i < 50; i++) {
    const file = `${d}/f${i}`;
    const fd = sys.open(file, 0o102);
    sys.pwrite(fd, Buffer.alloc(i * 331, i), i % 7 === 0 ? 300_000 : 0);
    sys.close(fd);
    sys.lchown(file, 1000 + i, 2000 + i);
    sys.chmod(file, 0o4000 * (i & 1) + 0o600 + i);
    if (i % 3 === 0) sys.link(file, `${d}/link${i}`);
    sys.setXattr(file, "user.number", String(i));
    if (i % 5 === 0) sys.setXattr(file, "user.large", Buffer.alloc(2000, i));
    // Version 2; user::rw-, user:1234:r--, group::r--, mask::r--, other::---
    const acl = "0200000001000600ffffffff02000400d204000004000400ffffffff10000400ffffffff20000000ffffffff";
    if (i % 4 === 0) sys.setXattr(file, "system.posix_acl_access", Buffer.from(acl, "hex"));
    sys.utimens(file, BigInt(i) * 1_000_000_007n, BigInt(i - 10) * 123_456_789_123n);
  }
  sys.mknod(`${d}/fifo`, S.FIFO | 0o640);
  sys.mknod(`${d}/char`, S.CHAR | 0o600, 5, 300);
  sys.symlink("../nowhere", `${d}/symlink`);
  sys.lchown(`${d}/symlink`, 77, 88);
  sys.utimens(`${d}/symlink`, 1n, 123_456_789n);
  sys.close(sys.open(`${d}/${"é".repeat(100)}`, 0o102));
  sys.setXattr(d, "user.directory", "yes");
  // rsync takes times within one second for the same, so nothing may be of just now.
  const long: [string, bigint][] = ["fifo", "char", "é".repeat(100)].map((name, i) => [
    `${d}/${name}`,
    BigInt(i + 1) * 1_234_567_890_123n,
  ]);
  for (const [path, time] of [...long, [d, 999_999_999_999n], [source, -5n]] as [string, bigint][]) {
    sys.utimens(path, 5n, time);
  }
}

/** One block after the other overwritten, wherever something was: one in 16 of the data area, never the ring. */
function spoil(image: string, seed: number): void {
  const random = new SeededRandom(seed);
  const fd = openSync(image, "r+");
  const { size } = fstatSync(fd);
  for (let at = 2 * MIB; at < size - 2 * MIB; at += 16 * 4096) {
    const block = at + random.below(16) * 4096;
    const found = sys.pread(fd, 4096, block);
    if (found.every((byte) => byte === 0)) continue;
    writeSync(fd, random.bytes(4096), 0, 4096, block);
  }
  closeSync(fd);
}
