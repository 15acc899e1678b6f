// A copy whose image lies on another FUSE filesystem, the server of which is stopped: every call on it hangs, and so does
// every attempt to open it. Programs on the mount never wait longer than a deadline and a commit (I9), and it comes back.

import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StatusReport } from "../../src/cli/status-report.ts";
import { ControlClient } from "../../src/daemon/control-client.ts";
import { mountedVolumeAt } from "../../src/daemon/mount-table.ts";
import { isAlive, mountsImpossible, type Outcome } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

const MIB = 1 << 20;
const DEADLINE_MS = 2000;
/** A commit, and a machine that is busy with other things. */
const COMMIT_MS = 4000;

let place: CopiesPlace;
let host: number | undefined;
beforeEach(() => {
  place = new CopiesPlace();
  host = undefined;
});
afterEach(() => {
  try {
    if (host !== undefined) process.kill(host, "SIGCONT");
  } finally {
    place.clear();
  }
});

/** A filesystem for one image, with its server's process id. */
async function hostFilesystem(): Promise<{ folder: string; pid: number }> {
  const image = place.path("host.img");
  await place.format("160M", [image]);
  const folder = place.mountPoint("host");
  await place.h2ts("mount", image, folder);
  const { daemon } = JSON.parse((await place.run("h2ts", "status", "-j", folder)).out) as StatusReport;
  if (daemon === undefined) throw new Error("no daemon");
  return { folder, pid: daemon.workerPid };
}

/** A program that makes a few bytes durable again and again; how long that took at most. */
class Prober {
  slowestMs = 0;
  rounds = 0;
  #stopped = false;
  readonly #going: Promise<void>;

  constructor(path: string) {
    this.#going = this.#run(path);
    this.#going.catch(() => undefined);
  }

  async #run(path: string): Promise<void> {
    const handle = await open(path, "w");
    // Once at least: who stops it may have been faster than the file was opened.
    do {
      const beganMs = performance.now();
      await handle.write(`round ${this.rounds}`, 0);
      await handle.sync();
      await handle.stat();
      this.slowestMs = Math.max(this.slowestMs, performance.now() - beganMs);
      this.rounds++;
      await sleep(20);
    } while (!this.#stopped);
    await handle.close();
  }

  /** Nothing failed, and there was progress. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#going;
    expect(this.rounds).toBeGreaterThan(0);
    expect(this.slowestMs).toBeLessThan(DEADLINE_MS + COMMIT_MS);
  }
}

/** Tries in vain to bring copy 1 back, while programs go on at their usual speed. */
async function onlineInVain(message: RegExp): Promise<void> {
  const prober = new Prober(join(place.mnt, "probe"));
  const beganMs = performance.now();
  const tried = await place.run("h2ts", "online", place.mnt, "1");
  expect([2, 32]).toContain(tried.code);
  expect(tried.err).toMatch(message);
  expect(tried.err.split("\n")).toHaveLength(2);
  expect(performance.now() - beganMs).toBeLessThan(20_000);
  await prober.stop();
  // Whoever waits for the device does so for a deadline.
  expect(prober.slowestMs).toBeLessThan(DEADLINE_MS);
}

/** The outcome of a command that must not wait for the device that hangs. */
async function inTime(outcome: Promise<Outcome>): Promise<Outcome | "late"> {
  return Promise.race([outcome, sleep(30_000, "late" as const, { ref: false })]);
}

/** Asks the daemon how it is until it hangs up; resolves to the errors it answered. */
async function askOn(): Promise<string[]> {
  const client = await ControlClient.connect(mountedVolumeAt(place.mnt)?.deviceKey as string);
  const errors: string[] = [];
  for (;;) {
    const reply = await client?.call("status");
    if (reply === undefined) return errors;
    if (reply.error !== undefined) errors.push(reply.error);
    await sleep(20);
  }
}

/** Bytes a process has read so far, its own program among them. */
const bytesRead = (pid: number): number => Number(/^rchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);

describe.skipIf(mountsImpossible() !== undefined)("a copy whose device hangs", { timeout: 150_000 }, () => {
  it("is dropped, can't be brought back while it hangs, and is in sync again afterwards (I2, I8, I9)", async () => {
    const { folder, pid } = await hostFilesystem();
    const [a, b, c] = [place.path("a.img"), join(folder, "b.img"), place.path("c.img")];
    await place.format("48M", [a, b, c]);
    await place.h2ts("mount", "-o", `commit=1,deadline=${DEADLINE_MS}`, a, b, c, place.mnt);
    const work = new Work(place.mnt, 31);
    await work.run(20);
    work.start();
    const prober = new Prober(join(place.mnt, "probe"));
    await sleep(300);
    host = pid;
    process.kill(pid, "SIGSTOP");
    await place.until(["ONLINE", "FAULTED", "ONLINE"]);
    await prober.stop();
    await onlineInVain(/b\.img: (calls on it are still under way|does not answer)[^\n]*try again when its device/);
    await work.stop();
    process.kill(pid, "SIGCONT");
    await place.h2ts("online", place.mnt, "1");
    await place.h2ts("wait", place.mnt);
    await place.until(["ONLINE", "ONLINE", "ONLINE"]);
    await work.run(5);

    // Taken out in order: then it is opening it that hangs.
    await place.h2ts("offline", place.mnt, "1");
    process.kill(pid, "SIGSTOP");
    for (let i = 0; i < 2; i++) await onlineInVain(/b\.img: does not answer \(waited 2000 ms\)/);
    // Another worker does not wait for it either.
    process.kill((await place.daemon()).workerPid, "SIGKILL");
    const after = new Prober(join(place.mnt, "probe"));
    await place.until(["ONLINE", "OFFLINE", "ONLINE"]);
    await after.stop();
    await onlineInVain(/b\.img: does not answer/);
    await work.run(5);
    process.kill(pid, "SIGCONT");
    await place.h2ts("online", place.mnt, "1");
    await place.h2ts("wait", place.mnt);
    await place.until(["ONLINE", "ONLINE", "ONLINE"]);
    await work.run(5);
    const probe = await open(join(place.mnt, "probe"));
    work.files.set("probe", await probe.readFile());
    await probe.close();
    await work.verify();
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, b, c]);
    host = undefined;
    await place.h2ts("umount", folder);
  });

  it("keeps no worker from giving way to another, and no mount from ending, while it hangs (I9)", async () => {
    const { folder, pid } = await hostFilesystem();
    const [a, b] = [place.path("a.img"), join(folder, "b.img")];
    await place.format("48M", [a, b]);
    await place.h2ts("mount", "-o", "commit=1,deadline=1000", a, b, place.mnt);
    const work = new Work(place.mnt, 33);
    await work.run(5);

    // A thread hangs in a call that ends with its process.
    await place.h2ts("offline", place.mnt, "1");
    host = pid;
    process.kill(pid, "SIGSTOP");
    expect((await place.run("h2ts", "online", place.mnt, "1")).err).toMatch(/b\.img: does not answer/);
    expect(await inTime(place.run("h2ts", "upgrade", place.mnt))).toMatchObject({ code: 0 });
    await work.run(2);
    process.kill(pid, "SIGCONT");

    // In one that does not end before the device answers, whoever wants it to.
    await place.h2ts("online", place.mnt, "1");
    await place.h2ts("wait", place.mnt);
    work.start();
    await sleep(300);
    process.kill(pid, "SIGSTOP");
    await place.until(["ONLINE", "FAULTED"]);
    await work.stop();
    const { copies } = await place.status();
    expect(copies[1]?.callsStuck).toBeGreaterThan(0);
    const refused = await inTime(place.run("h2ts", "upgrade", place.mnt));
    expect(refused).toMatchObject({ code: 32, err: expect.stringMatching(/: copy 1 hangs: .*try again/) as unknown });
    await work.run(2);
    // Whoever asks meanwhile is answered, and holds nothing up.
    const { supervisorPid } = await place.daemon();
    const asked = askOn();
    expect(await inTime(place.run("h2ts", "umount", place.mnt))).toMatchObject({ code: 0 });
    await expect.poll(() => isAlive(supervisorPid), { timeout: 20_000 }).toBe(false);
    expect((await asked).at(-1)).toMatch(/unmounted|ended|gone/);
    await place.succeeds("h2ts", "mount", "-o", "ro,degraded", a, place.mnt);
    await work.verify();
    await place.h2ts("umount", place.mnt);
  });

  it("and has more nodes than the daemon has threads, is dropped like any other, and keeps no mount from ending (I9)", async () => {
    const { folder, pid } = await hostFilesystem();
    const a = place.path("a.img");
    const nodes = Array.from({ length: 70 }, (_, i) => join(folder, String(i)));
    writeFileSync(a, "");
    truncateSync(a, 48 * MIB);
    for (const node of nodes) {
      writeFileSync(node, "");
      truncateSync(node, MIB);
    }
    await place.succeeds("mkfs.h2ts", "-q", "-f", a, nodes.join("+"));
    await place.h2ts("mount", "-o", `commit=1,deadline=${DEADLINE_MS}`, a, nodes.join("+"), place.mnt);
    const work = new Work(place.mnt, 34);
    await work.run(5);
    work.start();
    const prober = new Prober(join(place.mnt, "probe"));
    await sleep(300);
    host = pid;
    process.kill(pid, "SIGSTOP");
    await place.until(["ONLINE", "FAULTED"]);
    await prober.stop();
    await work.stop();
    await onlineInVain(/try again when its device/);
    await work.run(5);
    expect(await inTime(place.run("h2ts", "umount", place.mnt))).toMatchObject({ code: 0 });
    process.kill(pid, "SIGCONT");
    host = undefined;
  });

  it("and alone has blocks that are needed to carry out again what was answered, is waited for (I4)", async () => {
    const { folder, pid } = await hostFilesystem();
    const [a, b] = [place.path("a.img"), join(folder, "b.img")];
    await place.format("48M", [a, b]);
    await place.h2ts("mount", "-o", "commit=300,deadline=1000", a, b, place.mnt);
    await place.h2ts("set", "copies=1", place.mnt);
    const files = Array.from({ length: 6 }, (_, i) => join(place.mnt, `narrow${i}`));
    const content = Buffer.alloc(64 * 1024, 7);
    for (const file of files) writeFileSync(file, content);
    await place.h2ts("sync", place.mnt);
    for (const file of files) {
      const handle = await open(file, "r+");
      await handle.write(Buffer.alloc(10, 9), 0, 10, 100);
      await handle.sync();
      await handle.close();
    }
    host = pid;
    process.kill(pid, "SIGSTOP");
    process.kill((await place.daemon()).workerPid, "SIGKILL");
    const looked = readdir(place.mnt);
    looked.catch(() => undefined);
    expect(await Promise.race([looked, sleep(6000, "waits")])).toBe("waits");
    process.kill(pid, "SIGCONT");
    expect((await looked).length).toBe(files.length);
    content.fill(9, 100, 110);
    for (const file of files) expect(readFileSync(file).equals(content), file).toBe(true);
    await place.h2ts("wait", place.mnt);
    await place.h2ts("umount", place.mnt);
    expect(await place.run("fsck.h2ts", "-n", "-f", a, b)).toMatchObject({ code: 0 });
    host = undefined;
    await place.h2ts("umount", folder);
  });

  it("is given up by fsck.h2ts, which says so, checks the other one, repairs nothing and ends (I9)", async () => {
    const { folder, pid } = await hostFilesystem();
    const [a, b] = [place.path("a.img"), join(folder, "b.img")];
    await place.format("128M", [a, b]);
    await place.h2ts("mount", a, b, place.mnt);
    await new Work(place.mnt, 32).writeBig(64 * MIB);
    await place.h2ts("umount", place.mnt);
    await place.h2ts("sync", folder);
    writeFileSync("/proc/sys/vm/drop_caches", "3");
    const fsck = place.begin("fsck.h2ts", "-y", "-f", a, b);
    await expect.poll(() => bytesRead(fsck.pid), { timeout: 60_000, interval: 5 }).toBeGreaterThan(32 * MIB);
    host = pid;
    process.kill(pid, "SIGSTOP");
    const checked = await fsck.outcome;
    expect(checked, checked.err).toMatchObject({ code: 4 });
    expect(checked.out).toMatch(/copy 1 .*was not checked to its end: .*no answer within 5000 ms/);
    const refused = await place.run("fsck.h2ts", "-n", "-f", a, b);
    expect(refused).toMatchObject({ code: 8, out: "" });
    expect(refused.err).toMatch(
      /^fsck\.h2ts: .*b\.img: does not answer \(waited 30000 ms\); try again when its device does\n$/,
    );
    process.kill(pid, "SIGCONT");
    host = undefined;
    expect(await place.run("fsck.h2ts", "-n", "-f", a, b)).toMatchObject({ code: 0 });
    await place.h2ts("umount", folder);
  });
});
