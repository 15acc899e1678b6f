// What only the kernel knows, across the death of workers: pages that were not written back when a program asks where a file's data
// is, and whether somebody has a removed file open (src/fuse/kernel/notices.ts).

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountedVolumeAt } from "../../src/daemon/mount-table.ts";
import { isAlive, mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, killed } from "./copies-place.ts";

const MIB = 1024 * 1024;
const KILLS = 4;
/** Writes every second block of a file and asks at once where they are, until a file appears; ends with how often. */
const SEEKING = `
import os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
block = b"x" * 65536
rounds = 0
while not os.path.exists(sys.argv[2]):
    for i in range(64):
        os.pwrite(fd, block, i * 131072)
    assert os.lseek(fd, 0, os.SEEK_HOLE) == 65536
    assert os.lseek(fd, 65536, os.SEEK_DATA) == 131072
    rounds += 1
print(rounds)`;

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

const freeBytes = (): number => {
  const { bfree, bsize } = statfsSync(place.mnt);
  return bfree * bsize;
};

/** A program that seeks in a file of the mount until `stop` is there; `said` is what it printed, `ended` its exit code. */
function seek(): { program: ChildProcess; said: () => string; ended: Promise<unknown> } {
  const program = spawn("/usr/bin/python3", ["-c", SEEKING, `${place.mnt}/file`, `${place.mnt}/stop`]);
  let said = "";
  for (const stream of [program.stdout, program.stderr]) stream.on("data", (chunk) => (said += chunk));
  return { program, said: () => said, ended: new Promise((resolve) => program.on("close", resolve)) };
}

/** For the end, whatever happened: what waits for an answer of the daemon would do so for good, and the kernel's writeback with it. */
function releaser(supervisorPid: number): () => void {
  const connections = place.mountPoint("connections");
  expect(spawnSync("mount", ["-t", "fusectl", "fusectl", connections]).status).toBe(0);
  const connection = `${connections}/${mountedVolumeAt(place.mnt)?.deviceKey.split("-")[1]}/abort`;
  return () => {
    // Later the number may be another mount's.
    if (isAlive(supervisorPid) && existsSync(connection)) writeFileSync(connection, "1");
    spawnSync("umount", [connections]);
  };
}

/** Whether a thread of the process is inside a call that nothing interrupts. */
function isStuck(pid: number): boolean {
  const threads = `/proc/${pid}/task`;
  return readdirSync(threads).some((id) => /^State:\s+D/m.test(readFileSync(`${threads}/${id}/status`, "utf8")));
}

/** Stops the worker while the kernel waits, in the thread of the supervisor that brings a notice, for its answers. */
async function stopWithin(supervisorPid: number, workerPid: number): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    await sleep(5);
    process.kill(workerPid, "SIGSTOP");
    await sleep(20);
    if (isStuck(supervisorPid)) return;
    process.kill(workerPid, "SIGCONT");
  }
  throw new Error("no notice was ever under way");
}

describe.skipIf(mountsImpossible() !== undefined)("a program that asks where data is that was not written back", () => {
  it("is answered, although workers are killed and leave while the kernel writes it back", async () => {
    const targets = await place.mounted("96M");
    const { said, ended } = seek();
    for (let kill = 1; kill <= KILLS; kill++) {
      await sleep(400);
      await killed((await place.daemon()).workerPid);
      await place.restarted(kill);
    }
    await place.h2ts("upgrade", place.mnt);
    writeFileSync(`${place.mnt}/stop`, "");
    expect(await ended, said()).toBe(0);
    expect(Number(said())).toBeGreaterThan(0);
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", ...targets);
  });

  it("gets an error when no other worker can follow, and the supervisor that waits for the kernel is gone", async () => {
    const targets = await place.mounted("96M");
    const { supervisorPid, workerPid } = await place.daemon();
    const letGo = releaser(supervisorPid);
    const { program, said, ended } = seek();
    try {
      await stopWithin(supervisorPid, workerPid);
      for (const target of targets) rmSync(target);
      process.kill(workerPid, "SIGKILL");
      await expect.poll(() => program.exitCode, { timeout: 20_000 }).toBe(1);
      await ended;
      expect(said()).toMatch(/Error: \[Errno/);
      await expect.poll(() => isAlive(supervisorPid), { timeout: 20_000 }).toBe(false);
      expect(place.mounts()).not.toContain(place.mnt);
    } finally {
      letGo();
    }
  });
});

describe.skipIf(mountsImpossible() !== undefined)("files made before a worker died", () => {
  it("give their room back when they are removed, and stay while they are open", async () => {
    const targets = await place.mounted("96M");
    mkdirSync(`${place.mnt}/old`);
    for (let i = 0; i < 24; i++) writeFileSync(`${place.mnt}/old/${i}`, Buffer.alloc(MIB, i));
    await place.h2ts("sync", place.mnt);
    // The kernel forgets those that nobody has open.
    writeFileSync("/proc/sys/vm/drop_caches", "2");
    const open = openSync(`${place.mnt}/old/7`, "r+");
    const full = freeBytes();
    await killed((await place.daemon()).workerPid);
    await place.restarted(1);
    rmSync(`${place.mnt}/old`, { recursive: true });
    await expect.poll(freeBytes, { timeout: 10_000 }).toBeGreaterThan(full + 22 * MIB);
    expect(freeBytes()).toBeLessThan(full + 24 * MIB);
    const byte = Buffer.alloc(1);
    readSync(open, byte, 0, 1, 12_345);
    expect(byte[0]).toBe(7);
    fsyncSync(open);
    closeSync(open);
    await expect.poll(freeBytes, { timeout: 10_000 }).toBeGreaterThan(full + 23 * MIB);
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", ...targets);
  });
});
