// A resync interrupted by kill -9 of the processes goes on by itself after the next mount (I4, I7, I8).

import { spawnSync } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, killed, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

describe.skipIf(mountsImpossible() !== undefined)("a resync", () => {
  it.each(["worker", "both"] as const)("goes on after a kill -9 of %s", async (whom) => {
    const targets = ["a.img", "b.img", "c.img"].map((name) => place.path(name));
    await place.format("96M", targets);
    await place.h2ts("mount", "-o", "commit=1,resync-rate=6M", ...targets, place.mnt);
    const work = new Work(place.mnt, 1);
    await work.run(20);
    await place.h2ts("offline", place.mnt, "1");
    await work.run(20);
    await work.writeBig(32 << 20);
    await place.h2ts("online", place.mnt, "1");
    const brought = async (): Promise<number> => (await place.status()).scans[0]?.doneBytes ?? 0;
    await expect.poll(brought, { timeout: 20_000, interval: 100 }).toBeGreaterThan(0);
    await place.h2ts("sync", place.mnt);
    expect((await place.status()).scans[0]).toMatchObject({ state: "running" });
    const { supervisorPid, workerPid } = await place.daemon();
    if (whom === "worker") await killed(workerPid);
    else {
      await killed(supervisorPid, workerPid);
      spawnSync("umount", ["-l", place.mnt]);
      await expect.poll(() => place.mounts(), { timeout: 10_000 }).toEqual([]);
      const mounted = await place.succeeds("h2ts", "mount", ...targets, place.mnt);
      expect(mounted).toMatchObject({ out: "" });
      expect(mounted.err).toMatch(/copy 1 .*STALE/);
    }
    await work.verify();
    await place.h2ts("wait", place.mnt);
    const after = await place.status();
    expect(after.copies.map(({ state }) => state)).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
    // What had been brought before was not brought again.
    expect(after.scans[0]?.doneBytes).toBeLessThan(36 << 20);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, targets);
  });
});
