// Copies come, move and go while the volume is mounted; then its worker is killed. The next one opens the copies that there
// are now, and commands know which targets are in use (I4, I11).

import { renameSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

/** Kills the worker; resolves when another one serves. */
async function killWorker(): Promise<void> {
  const { workerPid, restarts } = await place.daemon();
  process.kill(workerPid, "SIGKILL");
  await place.restarted(restarts + 1);
}

const targetsNow = async (): Promise<string[]> =>
  (await place.status()).copies.flatMap(({ targets }) => targets).sort();

/** What status and mount say of a target: mounted here, or free. */
async function expectInUse(target: string, inUse: boolean): Promise<void> {
  const status = await place.run("h2ts", "status", "-j", target);
  const mounted = await place.run("h2ts", "mount", target, place.mountPoint("other"));
  expect(mounted.code).toBe(32);
  if (inUse) {
    expect(status).toMatchObject({ code: 0, out: expect.stringContaining(`"directory": "${place.mnt}"`) as unknown });
    expect(mounted.err).toBe(`h2ts: ${target}: is already mounted on ${place.mnt}\n`);
  } else {
    expect(status.out).not.toContain(place.mnt);
    expect(status.err + mounted.err).not.toMatch(/already/);
    expect(mounted.err).toMatch(/no valid root block/);
  }
}

describe.skipIf(mountsImpossible() !== undefined)("a worker killed after the copies changed", () => {
  it("is followed by one with those that are there now", async () => {
    const [a, b, c, d] = place.images("a", "b", "c", "d");
    await place.format("64M", [a, b]);
    await place.h2ts("mount", a, b, place.mnt);
    const work = new Work(place.mnt, 11);
    await work.run(20);

    await place.h2ts("attach", "-s", "64M", place.mnt, c);
    await place.h2ts("wait", place.mnt);
    expect(await targetsNow()).toEqual([a, b, c]);
    await killWorker();
    await place.until(["ONLINE", "ONLINE", "ONLINE"]);
    expect(await targetsNow()).toEqual([a, b, c]);
    await expectInUse(c, true);
    await work.run(10);

    await place.h2ts("detach", place.mnt, "0");
    await place.h2ts("wait", place.mnt);
    expect(await targetsNow()).toEqual([b, c]);
    await killWorker();
    await place.until(["ONLINE", "ONLINE"]);
    await expectInUse(a, false);
    await work.run(10);

    await place.h2ts("offline", place.mnt, "1");
    renameSync(b, d);
    await work.run(5);
    await place.h2ts("online", place.mnt, "1", d);
    await place.h2ts("wait", place.mnt);
    expect(await targetsNow()).toEqual([c, d]);
    await killWorker();
    await place.until(["ONLINE", "ONLINE"]);
    await expectInUse(d, true);

    await place.h2ts("replace", "-f", place.mnt, "1", a);
    await place.h2ts("wait", place.mnt);
    await killWorker();
    await place.until(["ONLINE", "ONLINE"]);
    expect(await targetsNow()).toEqual([a, c]);
    await expectInUse(d, false);
    await work.run(10);
    await work.verify();
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, c]);
  });

  it("right after attach, or while one is leaving, goes on with that", async () => {
    const [a, b, c] = place.images("a", "b", "c");
    await place.format("64M", [a, b]);
    await place.h2ts("mount", "-o", "resync-rate=8M", a, b, place.mnt);
    const work = new Work(place.mnt, 12);
    await work.writeBig(16 << 20);
    await place.h2ts("attach", "-s", "64M", place.mnt, c);
    await killWorker();
    expect(await targetsNow()).toEqual([a, b, c]);
    await place.h2ts("wait", place.mnt);
    await place.until(["ONLINE", "ONLINE", "ONLINE"]);
    await place.h2ts("detach", place.mnt, "1");
    await killWorker();
    await place.h2ts("wait", place.mnt);
    await place.until(["ONLINE", "ONLINE"]);
    expect(await targetsNow()).toEqual([a, c]);
    await killWorker();
    await place.until(["ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, c]);
  });
});
