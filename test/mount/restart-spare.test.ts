// A spare worker waits beside the one that serves: it takes over when that dies, costs nobody anything when it dies itself, holds
// nothing, and ends with the mount, with an upgrade and with the supervisor.

import { existsSync, readFileSync, readlinkSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StatusReport } from "../../src/cli/status-report.ts";
import { DaemonLog } from "../../src/daemon/daemon-log.ts";
import type { KeptDevices } from "../../src/daemon/kept-devices.ts";
import { WorkerProcess } from "../../src/daemon/worker-process.ts";
import { DIST, mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, killed, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

interface Processes {
  readonly supervisorPid: number;
  readonly workerPid: number;
  readonly sparePid?: number | undefined;
}

async function processes(): Promise<Processes> {
  const { daemon } = await place.status();
  if (daemon === undefined) throw new Error("no daemon");
  return daemon;
}

async function mounted(): Promise<{ targets: string[]; work: Work }> {
  const targets = ["a.img", "b.img"].map((name) => place.path(name));
  await place.format("32M", targets);
  await place.h2ts("mount", "-o", `log=${place.path("daemon.log")}`, ...targets, place.mnt);
  const work = new Work(place.mnt, 47);
  await work.run(4);
  return { targets, work };
}

async function withSpare(): Promise<Required<Processes>> {
  await expect.poll(async () => (await processes()).sparePid, { timeout: 20_000 }).toBeGreaterThan(0);
  return (await processes()) as Required<Processes>;
}

const alive = (pid: number): boolean => existsSync(`/proc/${pid}`);

/** What a process has open, apart from sockets, pipes and what Node needs. */
function filesOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`)
    .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
    .filter((name) => name.startsWith("/") && name !== "/dev/null");
}

it("a worker of a supervisor that has devices under the numbers of the worker's own channels can be told what to do", async () => {
  const log = DaemonLog.inMemory(() => new Date());
  const devices = { inherited: [0, 1, 2, 3, 4] } as unknown as KeptDevices;
  const worker = new WorkerProcess(join(DIST, "src/daemon/worker-main.js"), "none", log, devices);
  try {
    worker.leave();
    expect(await worker.ended).toEqual({ error: undefined, goesOn: true, killed: false });
  } finally {
    worker.kill();
  }
}, 20_000);

describe.skipIf(mountsImpossible() !== undefined)("a spare worker", () => {
  it("takes over when the worker dies, and another one becomes the spare", async () => {
    const { targets, work } = await mounted();
    const { workerPid, sparePid } = await withSpare();
    await expect.poll(() => filesOf(sparePid), { timeout: 10_000 }).toEqual([]);
    await killed(workerPid);
    await work.run(4);
    expect((await processes()).workerPid).toBe(sparePid);
    expect(filesOf(sparePid).sort()).toEqual(expect.arrayContaining(["/dev/fuse", ...targets]) as string[]);
    expect((await withSpare()).sparePid).not.toBe(sparePid);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, targets);
  });

  it("is missed by nobody when it dies first", async () => {
    const { targets, work } = await mounted();
    const { workerPid, sparePid } = await withSpare();
    await killed(sparePid);
    await work.run(2);
    expect(await processes()).toMatchObject({ workerPid });
    await killed(workerPid);
    await work.run(2);
    expect(readFileSync(place.path("daemon.log"), "utf8")).toMatch(/took over/);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, targets);
  });

  it("is not what an upgrade goes on with, and ends with the mount", async () => {
    const { targets, work } = await mounted();
    const { sparePid } = await withSpare();
    await place.h2ts("upgrade", place.mnt);
    expect((await processes()).workerPid).not.toBe(sparePid);
    expect(alive(sparePid)).toBe(false);
    const last = await withSpare();
    await place.h2ts("umount", place.mnt);
    for (const pid of [last.sparePid, last.workerPid]) expect(alive(pid)).toBe(false);
    await expect.poll(() => alive(last.supervisorPid), { timeout: 10_000 }).toBe(false);
    await place.examine(work, targets);
  });

  it("is started while a device hangs, and nobody waits for that device (I9)", async () => {
    const host = place.mountPoint("host");
    await place.format("96M", [place.path("host.img")]);
    await place.h2ts("mount", place.path("host.img"), host);
    const { daemon } = JSON.parse((await place.run("h2ts", "status", "-j", host)).out) as StatusReport;
    const hostPid = daemon?.workerPid as number;
    const targets = [place.path("a.img"), join(host, "b.img")];
    await place.format("32M", targets);
    await place.h2ts("mount", "-o", "commit=1,deadline=2000", ...targets, place.mnt);
    const work = new Work(place.mnt, 48);
    work.start();
    await sleep(300);
    process.kill(hostPid, "SIGSTOP");
    try {
      // What is written to the copy that hangs waits in the kernel: to close its descriptor would be to wait for that.
      await expect.poll(async () => (await processes()).sparePid, { timeout: 10_000 }).toBeGreaterThan(0);
      await place.until(["ONLINE", "FAULTED"]);
    } finally {
      process.kill(hostPid, "SIGCONT");
    }
    await work.stop();
    await place.h2ts("umount", place.mnt);
    await place.h2ts("umount", host);
  });

  it("ends when the supervisor is killed, and the worker serves on", async () => {
    const { work } = await mounted();
    const { supervisorPid, sparePid, workerPid } = await withSpare();
    await killed(supervisorPid);
    await expect.poll(() => alive(sparePid), { timeout: 10_000 }).toBe(false);
    await work.run(2);
    expect(alive(workerPid)).toBe(true);
  });
});
