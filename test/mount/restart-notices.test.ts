// What only the kernel knows, across the death of workers: pages that were not written back when a program asks where a file's data
// is, and whether somebody has a removed file open (src/fuse/kernel/notices.ts).

import { spawn } from "node:child_process";
import { closeSync, fsyncSync, mkdirSync, openSync, readSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
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

describe.skipIf(mountsImpossible() !== undefined)("a program that asks where data is that was not written back", () => {
  it("is answered, although workers are killed and leave while the kernel writes it back", async () => {
    const targets = await place.mounted("96M");
    const seeking = spawn("/usr/bin/python3", ["-c", SEEKING, `${place.mnt}/file`, `${place.mnt}/stop`]);
    let said = "";
    for (const stream of [seeking.stdout, seeking.stderr]) stream.on("data", (chunk) => (said += chunk));
    const ended = new Promise((resolve) => seeking.on("close", resolve));
    for (let kill = 1; kill <= KILLS; kill++) {
      await sleep(400);
      await killed((await place.daemon()).workerPid);
      await place.restarted(kill);
    }
    await place.h2ts("upgrade", place.mnt);
    writeFileSync(`${place.mnt}/stop`, "");
    expect(await ended, said).toBe(0);
    expect(Number(said)).toBeGreaterThan(0);
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", ...targets);
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
