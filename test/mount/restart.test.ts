// Workers killed at random moments under real programs: nobody sees an error, no effect is lost or doubled, and in the end the
// checker finds nothing (I4). H2TS_KILLS or H2TS_KILL_MINUTES make it go on longer (npm run torture), H2TS_KILL_SEED repeats the
// moments.

import { fork, spawn } from "node:child_process";
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { opendir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Random, SeededRandom } from "../../src/base/random.ts";
import { ControlClient } from "../../src/daemon/control-client.ts";
import { mountedVolumeAt } from "../../src/daemon/mount-table.ts";
import { WAITS_MS } from "../../src/daemon/patience.ts";
import { PREPARE_AFTER_MS } from "../../src/daemon/spare-worker.ts";
import { busyPrograms } from "./busy-programs.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";
import { describeTree, expectSameTree, run } from "./data-programs.ts";

const MINUTES = Number(process.env["H2TS_KILL_MINUTES"] ?? 0);
const KILLS = MINUTES > 0 ? Infinity : Number(process.env["H2TS_KILLS"] ?? 52);
const SEED = Number(process.env["H2TS_KILL_SEED"] ?? Date.now() % 1_000_000);
const PAUSE_MS_MAX = 700;
/** A spare worker waits by then. */
const SPARE_READY_MS = PREPARE_AFTER_MS + 800;
/** Fewer in a row than the supervisor takes for hopeless, as those who were given time may have come to nothing as well. */
const HASTY_KILLS_MAX = WAITS_MS.length - 3;

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

/** Kills the worker that serves now. */
async function kill(): Promise<void> {
  process.kill((await place.daemon()).workerPid, "SIGKILL");
}

/** Kills worker after worker: mostly at some moment of its service, now and then while it takes over. Gives how many. */
async function killOften(random: Random, supervisorPid: number): Promise<number> {
  let last = 0;
  let done = 0;
  let hasty = 0;
  const untilMs = MINUTES > 0 ? performance.now() + MINUTES * 60_000 : Infinity;
  for (; done < KILLS && performance.now() < untilMs; done++) {
    let pid = await workerOf(supervisorPid);
    while (pid === last) {
      await sleep(5);
      pid = await workerOf(supervisorPid);
    }
    if (random.below(6) === 0 && hasty < HASTY_KILLS_MAX) {
      await sleep(random.below(400));
      hasty++;
    } else {
      if (done > 0) await tookOver(pid);
      const pauseMs = random.below(12) === 0 ? SPARE_READY_MS : random.below(PAUSE_MS_MAX);
      const isHasty = pauseMs < PAUSE_MS_MAX && hasty < HASTY_KILLS_MAX;
      await sleep(isHasty ? pauseMs : SPARE_READY_MS);
      hasty = isHasty ? hasty + 1 : 0;
    }
    process.kill(pid, "SIGKILL");
    last = pid;
  }
  return done;
}

async function tookOver(pid: number): Promise<void> {
  while (!place.log().includes(`worker ${pid} took over`)) {
    if (!existsSync(`/proc/${pid}`)) throw new Error(`worker ${pid} ended by itself`);
    await sleep(10);
  }
}

/** The worker of this moment, whether it serves yet or not. */
async function workerOf(supervisorPid: number): Promise<number> {
  const client = await ControlClient.connect(mountedVolumeAt(place.mnt)?.deviceKey ?? "");
  const reply = await client?.call("ping");
  client?.close();
  const pid = reply?.daemon?.workerPid;
  if (pid !== undefined) return pid;
  const state = existsSync(`/proc/${supervisorPid}`) ? "does not answer" : "is gone";
  throw new Error(`the supervisor ${state}:\n${place.log()}`);
}

describe.skipIf(mountsImpossible() !== undefined)("a worker that is killed", () => {
  it("under tar, rsync, git, SQLite, fio and a program that counts goes unnoticed", {
    timeout: (MINUTES > 0 ? MINUTES * 60_000 : KILLS * 4000) + 240_000,
  }, async () => {
    console.log(`H2TS_KILL_SEED=${SEED}`);
    const random = new SeededRandom(SEED);
    const targets = await place.mounted("160M");
    const programs = busyPrograms(place.mnt, place.folder, random);
    const folder = join(place.mnt, "counted");
    mkdirSync(folder);
    const counting = fork(join(import.meta.dirname, "counting-program.mjs"), [folder], {
      stdio: ["ignore", "inherit", "pipe", "ipc"],
    });
    let complaint = "";
    counting.stderr?.on("data", (chunk) => (complaint += chunk));
    let rounds = 0;
    counting.on("message", (message: { rounds: number }) => (rounds = message.rounds));
    const ended = new Promise<number | null>((resolve) => counting.on("close", resolve));
    for (const program of programs) program.start();
    const kills = await killOften(random, (await place.daemon()).supervisorPid);
    await Promise.all(programs.map((program) => program.stop()));
    counting.send("stop");
    expect({ code: await ended, complaint }).toEqual({ code: 0, complaint: "" });
    expect(rounds).toBeGreaterThan(0);
    const { daemon, state } = await place.status();
    expect(state).toBe("ONLINE");
    expect(daemon?.restarts).toBeGreaterThanOrEqual(kills);
    console.log(
      `${kills} kills; ${programs.map(({ name, rounds }) => `${name} ${rounds}`).join(", ")}, counted ${rounds} rounds`,
    );
    const before = describeTree(place.mnt);
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", ...targets);
    await place.h2ts("mount", ...targets, place.mnt);
    expectSameTree(describeTree(place.mnt), before);
  });

  it("keeps files that have no name any more, positions in folders and locks", async () => {
    await place.mounted("96M");
    const path = (name: string): string => join(place.mnt, name);
    for (let i = 0; i < 3000; i++) writeFileSync(path(`entry-${i}`), "");
    const fd = openSync(path("gone"), "w+");
    writeSync(fd, "before");
    rmSync(path("gone"));
    const listing = await opendir(place.mnt, { bufferSize: 1 });
    const seen = new Set<string>();
    for (let i = 0; i < 100; i++) seen.add((await listing.read())?.name ?? "");
    writeFileSync(path("lock"), "");
    const holder = spawn("flock", ["-F", "-x", path("lock"), "sleep", "60"], { stdio: "ignore" });
    await expect
      .poll(() =>
        run("flock", ["-n", path("lock"), "true"]).then(
          () => "free",
          () => "held",
        ),
      )
      .toBe("held");
    await kill();
    writeSync(fd, " and after");
    const back = Buffer.alloc(20);
    expect(back.toString("latin1", 0, readSync(fd, back, 0, 20, 0))).toBe("before and after");
    expect(fstatSync(fd).nlink).toBe(0);
    for (let entry = await listing.read(); entry !== null; entry = await listing.read()) {
      expect(seen.has(entry.name)).toBe(false);
      seen.add(entry.name);
    }
    await listing.close();
    expect(seen.size).toBe(3001);
    await expect(run("flock", ["-n", path("lock"), "true"])).rejects.toThrow();
    holder.kill();
    closeSync(fd);
    expect(() => statSync(path("gone"))).toThrow("ENOENT");
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", place.path("a.img"), place.path("b.img"));
  });

  it("with a copy lost at the same time, or in the middle of a resync, goes on without it and catches it up (I2, I8)", async () => {
    const targets = await place.mounted("96M", "-o", "commit=1,resync-rate=20M");
    const work = new Work(place.mnt, 3);
    work.start();
    await sleep(300);
    await Promise.all([place.run("h2ts", "offline", place.mnt, "1"), kill()]);
    await work.stop();
    await place.run("h2ts", "offline", place.mnt, "1");
    await place.until(["ONLINE", "OFFLINE"]);
    await work.writeBig(24 << 20);
    await place.h2ts("online", place.mnt, "1");
    work.start();
    for (let i = 0; i < 3; i++) {
      await sleep(150);
      await kill();
    }
    await work.stop();
    await place.h2ts("wait", place.mnt);
    await place.until(["ONLINE", "ONLINE"]);
    await work.verify();
    await place.h2ts("scrub", place.mnt);
    await kill();
    await place.h2ts("wait", place.mnt);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, targets);
  });

  it("on purpose, by h2ts upgrade, under work", async () => {
    const targets = await place.mounted("96M");
    const work = new Work(place.mnt, 4);
    work.start();
    const before = await place.daemon();
    for (let i = 0; i < 3; i++) await place.h2ts("upgrade", place.mnt);
    await work.stop();
    const after = await place.daemon();
    expect(after.workerPid).not.toBe(before.workerPid);
    expect(after.restarts).toBe(3);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, targets);
  });

  it("and can't be followed by another takes the mount down, with a line that says why", async () => {
    const targets = await place.mounted("32M");
    for (const target of targets) rmSync(target);
    await kill();
    await expect.poll(() => place.mounts(), { timeout: 20_000 }).toEqual([]);
    const log = place.log();
    expect(log).toMatch(/another one takes over\n[\s\S]*no such file or device; the mount is taken down\n/);
  });
});
