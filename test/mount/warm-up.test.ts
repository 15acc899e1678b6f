// The worker of a mount that nobody uses practises for a moment, on memory of its own, and answers whoever comes meanwhile.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { practiceFiles } from "../model/practice-files.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

const BEGINS_MS_MAX = 20_000;
const ENDS_MS_MAX = 60_000;
/** Until what was written is committed and freed memory is tidied up, too. */
const RESTS_MS_MAX = 30_000;
/** Clock ticks of CPU time in a second in which there is nothing to do; a timer now and then takes less. */
const IDLE_TICKS_MAX = 3;

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
  place.practises = true;
});
afterEach(() => place.clear());

async function mounted(...options: string[]): Promise<number> {
  await place.mounted("64M", ...options);
  return (await place.daemon()).workerPid;
}

const practises = (pid: number): boolean => practiceFiles(pid) > 0;

/** utime and stime of a process. */
function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

/** Ticks of a second from now. */
async function ticksInASecond(pid: number): Promise<number> {
  const before = cpuTicks(pid);
  await sleep(1000);
  return cpuTicks(pid) - before;
}

describe.skipIf(mountsImpossible() !== undefined)("the worker", () => {
  it("practises, serves meanwhile, and is idle afterwards", async () => {
    const worker = await mounted();
    const work = new Work(place.mnt, 21);
    await expect.poll(() => practises(worker), { timeout: BEGINS_MS_MAX, interval: 20 }).toBe(true);
    await work.run(60);
    await expect.poll(() => practises(worker), { timeout: ENDS_MS_MAX }).toBe(false);
    await work.verify();
    await place.h2ts("sync", place.mnt);
    await expect.poll(() => ticksInASecond(worker), { timeout: RESTS_MS_MAX }).toBeLessThanOrEqual(IDLE_TICKS_MAX);
    await place.h2ts("umount", place.mnt);
  });

  it("leaves for another one, and is unmounted, in the middle of it", async () => {
    const worker = await mounted();
    await expect.poll(() => practises(worker), { timeout: BEGINS_MS_MAX, interval: 20 }).toBe(true);
    await place.h2ts("upgrade", place.mnt);
    const next = (await place.daemon()).workerPid;
    expect(next).not.toBe(worker);
    await expect.poll(() => practises(next), { timeout: BEGINS_MS_MAX, interval: 20 }).toBe(true);
    await place.h2ts("umount", place.mnt);
  });

  it("does not with nowarmup", async () => {
    const worker = await mounted("-o", "nowarmup");
    for (let i = 0; i < 40; i++) {
      expect(practises(worker)).toBe(false);
      await sleep(100);
    }
    await place.h2ts("umount", place.mnt);
  });
});
