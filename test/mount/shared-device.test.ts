// Several copies on one image: one of them leaves, is replaced or taken out, and the others stay what they are, through deaths of the
// worker, remounts and fsck (I6, I11).

import { readFileSync, renameSync } from "node:fs";
import { open } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { NODE_HEADER_AREA_BYTES } from "../../src/format/geometry.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, isFree, killed, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

/** A volume with so many copies on a.img, mounted and worked on; the paths of that image and of two others that are not there yet. */
async function mounted(copies: number): Promise<{ work: Work; a: string; b: string; c: string }> {
  const [a, b, c] = place.images("a", "b", "c");
  await place.succeeds("mkfs.h2ts", "-q", "-s", `${copies * 32}M`, "-n", String(copies), a);
  await place.h2ts("mount", a, place.mnt);
  const work = new Work(place.mnt, copies);
  await work.run(10);
  return { work, a, b, c };
}

async function workerDies(): Promise<void> {
  const { workerPid, restarts } = await place.daemon();
  await killed(workerPid);
  await place.restarted(restarts + 1);
}

const headerArea = (path: string): Buffer => readFileSync(path).subarray(0, NODE_HEADER_AREA_BYTES);

async function putHeader(path: string, bytes: Buffer): Promise<void> {
  const handle = await open(path, "r+");
  await handle.write(bytes, 0, bytes.length, 0);
  await handle.close();
}

describe.skipIf(mountsImpossible() !== undefined)("several copies on one image", () => {
  it("one is detached: the worker dies, the volume is mounted again, and its index is used again", async () => {
    const { work, a, b } = await mounted(3);
    const before = headerArea(a);
    await place.h2ts("detach", place.mnt, "0");
    await place.h2ts("wait", "-t", "detach", place.mnt);
    await workerDies();
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    await place.h2ts("attach", "-s", "32M", place.mnt, b);
    await place.h2ts("wait", place.mnt);
    await work.run(5);
    await place.h2ts("umount", place.mnt);
    // As if the machine had crashed before the header was written.
    await putHeader(a, before);
    await place.h2ts("mount", a, b, place.mnt);
    await workerDies();
    expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
    await work.run(5);
    await place.h2ts("umount", place.mnt);
    expect((await place.run("fsck.h2ts", "-n", a, b)).out).toMatch(/H2F-001-node-header.*lists a copy 0 that has left/);
    expect((await place.run("fsck.h2ts", "-p", a, b)).code).toBe(1);
    await place.examine(work, [b, a]);
  });

  it("one is replaced: the other goes out and comes back, and both are mounted again", async () => {
    const { work, a, b } = await mounted(2);
    await place.h2ts("replace", "-w", "-s", "40M", place.mnt, "1", b);
    await place.h2ts("wait", place.mnt);
    await place.h2ts("offline", place.mnt, "0");
    await work.run(5);
    await place.h2ts("online", place.mnt, "0");
    await place.h2ts("wait", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.h2ts("mount", b, a, place.mnt);
    await work.verify();
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, b]);
  });

  it("all are out: the image is free, and one opens it for all of them", async () => {
    const { work, a, b, c: away } = await mounted(2);
    await place.h2ts("attach", "-s", "32M", place.mnt, b);
    await place.h2ts("wait", place.mnt);
    await place.h2ts("umount", place.mnt);
    renameSync(a, away);
    await place.succeeds("h2ts", "mount", "-o", "degraded", b, place.mnt);
    await work.run(5);
    for (const index of ["0", "1"]) await place.h2ts("offline", place.mnt, index);
    await place.h2ts("umount", place.mnt);
    renameSync(away, a);
    await place.succeeds("h2ts", "mount", a, b, place.mnt);
    expect(await isFree(a)).toBe(false);
    await place.h2ts("offline", place.mnt, "0");
    expect(await isFree(a)).toBe(true);
    for (const index of ["0", "1"]) await place.h2ts("online", place.mnt, index, a);
    await place.h2ts("wait", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, b]);
  });
});
