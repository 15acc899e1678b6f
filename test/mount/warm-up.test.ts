// The worker of a mount that nobody uses practises for a moment, on memory of its own, and answers whoever comes meanwhile.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { practiceFiles } from "../model/practice-files.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

const BEGINS_MS_MAX = 20_000;
const ENDS_MS_MAX = 60_000;
/** Clock ticks of CPU time in a second in which there is nothing to do; a timer now and then takes less. */
const IDLE_TICKS_MAX = 3;

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
  place.practises = true;
});
afterEach(() => place.clear());

async function mounted(...options: string[]): Promise<number> {
  const targets = ["a.img", "b.img"].map((name) => place.path(name));
  await place.format("64M", targets);
  await place.h2ts("mount", ...options, ...targets, place.mnt);
  return (await place.status()).daemon?.workerPid ?? 0;
}

const practises = (pid: number): boolean => practiceFiles(pid) > 0;

/** utime and stime of a process. */
function cpuTicks(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return Number(fields[11]) + Number(fields[12]);
}

describe.skipIf(mountsImpossible() !== undefined)("the worker", () => {
  it("practises, serves meanwhile, and is idle afterwards", async () => {
    const worker = await mounted();
    const work = new Work(place.mnt, 21);
    await expect.poll(() => practises(worker), { timeout: BEGINS_MS_MAX, interval: 20 }).toBe(true);
    await work.run(60);
    await expect.poll(() => practises(worker), { timeout: ENDS_MS_MAX }).toBe(false);
    await work.verify();
    // What was written is committed first, and freed memory tidied up.
    await place.h2ts("sync", place.mnt);
    await sleep(6000);
    const before = cpuTicks(worker);
    await sleep(1000);
    expect(cpuTicks(worker) - before).toBeLessThanOrEqual(IDLE_TICKS_MAX);
    await place.h2ts("umount", place.mnt);
  });

  it("leaves for another one, and is unmounted, in the middle of it", async () => {
    const worker = await mounted();
    await expect.poll(() => practises(worker), { timeout: BEGINS_MS_MAX, interval: 20 }).toBe(true);
    await place.h2ts("upgrade", place.mnt);
    const next = (await place.status()).daemon?.workerPid ?? 0;
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
