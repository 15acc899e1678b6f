// A spare worker waits beside the one that serves: it takes over when that dies, costs nobody anything when it dies itself, holds
// nothing, and ends with the mount, with an upgrade and with the supervisor.

import { closeSync, readlinkSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StatusReport } from "../../src/cli/status-report.ts";
import { DaemonLog } from "../../src/daemon/daemon-log.ts";
import { KeptDevices } from "../../src/daemon/kept-devices.ts";
import { parseMountOptions } from "../../src/daemon/parse-mount-options.ts";
import { createSharedMemory } from "../../src/daemon/shared-memory.ts";
import { WorkerProcess } from "../../src/daemon/worker-process.ts";
import { NONCE_BYTES } from "../../src/format/geometry.ts";
import { JOURNAL_BYTES } from "../../src/log/journal.ts";
import { DIST, isAlive, mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, killed, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

type DaemonWithSpare = Awaited<ReturnType<CopiesPlace["daemon"]>> & { readonly sparePid: number };

async function mounted(): Promise<{ targets: string[]; work: Work }> {
  const targets = await place.mounted("32M");
  const work = new Work(place.mnt, 47);
  await work.run(4);
  return { targets, work };
}

async function withSpare(): Promise<DaemonWithSpare> {
  await expect.poll(async () => (await place.daemon()).sparePid, { timeout: 20_000 }).toBeGreaterThan(0);
  return (await place.daemon()) as DaemonWithSpare;
}

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
    await worker.kill();
  }
}, 20_000);

it("a worker that gets less than all descriptors of its mount says so and ends, so that another one follows", async () => {
  const worker = new WorkerProcess(
    join(DIST, "src/daemon/worker-main.js"),
    "none",
    DaemonLog.inMemory(() => new Date()),
  );
  const devices = new KeptDevices();
  const memoryFd = createSharedMemory(JOURNAL_BYTES);
  try {
    const legacy = { kernel: { fuseFd: -1, memoryFd, devices }, heartbeatNonce: new Uint8Array(NONCE_BYTES) };
    const request = { source: "none", targets: ["/none"], directory: "/none", options: parseMountOptions([]) };
    worker.start({ request, legacy, takeOver: true });
    expect(await worker.ended).toEqual({
      error: expect.stringMatching(/^the worker died .*: not every descriptor of the mount arrived$/) as unknown,
      goesOn: true,
      killed: false,
    });
  } finally {
    await worker.kill();
    devices.close();
    closeSync(memoryFd);
  }
}, 20_000);

describe.skipIf(mountsImpossible() !== undefined)("a spare worker", () => {
  it("takes over when the worker dies, and another one becomes the spare", async () => {
    const { targets, work } = await mounted();
    const { workerPid, sparePid } = await withSpare();
    await expect.poll(() => filesOf(sparePid), { timeout: 10_000 }).toEqual([]);
    await killed(workerPid);
    await work.run(4);
    expect((await place.daemon()).workerPid).toBe(sparePid);
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
    expect(await place.daemon()).toMatchObject({ workerPid });
    await killed(workerPid);
    await work.run(2);
    expect(place.log()).toMatch(/took over/);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, targets);
  });

  it("is not what an upgrade goes on with, and ends with the mount", async () => {
    const { targets, work } = await mounted();
    const { sparePid } = await withSpare();
    await place.h2ts("upgrade", place.mnt);
    expect((await place.daemon()).workerPid).not.toBe(sparePid);
    expect(isAlive(sparePid)).toBe(false);
    const last = await withSpare();
    await place.h2ts("umount", place.mnt);
    for (const pid of [last.sparePid, last.workerPid]) expect(isAlive(pid)).toBe(false);
    await expect.poll(() => isAlive(last.supervisorPid), { timeout: 10_000 }).toBe(false);
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
      await expect.poll(async () => (await place.daemon()).sparePid, { timeout: 10_000 }).toBeGreaterThan(0);
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
    await expect.poll(() => isAlive(sparePid), { timeout: 10_000 }).toBe(false);
    await work.run(2);
    expect(isAlive(workerPid)).toBe(true);
  });
});
