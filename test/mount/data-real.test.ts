// Real data: a tree by rsync, git, SQLite and fio on two copies of unequal size; then unmount, check, remount, compare; and
// with one block of each image in turn overwritten by garbage, everything reads right and the copy is good again on media.

import { existsSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { VolumeReport } from "../../src/daemon/volume-report.ts";
import { mountsImpossible } from "./cli-place.ts";
import { describeTree, expectSameTree, run } from "./data-programs.ts";
import { decorate, spoil } from "./data-scenery.ts";
import { fioVerify, gitAtWork, rsyncTwice, sqliteRows } from "./data-workloads.ts";
import { MountedVolume } from "./posix-mounted.ts";
import { sys } from "./posix-system.ts";

/** A tree that every Debian has, large enough to be real and small enough for each run. */
const REAL_TREE =
  ["/usr/share/perl", "/usr/share/zoneinfo", "/usr/lib/python3"].find((path) => existsSync(path)) ?? "/etc";
/** A part of what the acceptance run does: each check that follows goes over all of it several times. */
const SQLITE_ROWS = 30_000;
const FIO_MIB = 12;

describe.skipIf(mountsImpossible() !== undefined)("real data on two copies", () => {
  let volume: MountedVolume;
  let kept: Map<string, string>;

  beforeAll(async () => {
    volume = await MountedVolume.create("kernel");
  });
  afterAll(() => volume?.destroy());

  it("rsync -aHAX of a real tree keeps every attribute", async () => {
    const source = `${volume.place.folder}/source`;
    sys.mkdir(source);
    await run("cp", ["-a", REAL_TREE, `${source}/tree`]);
    decorate(source);
    const target = `${volume.directory}/rsync`;
    await rsyncTwice(source, target);
    const expected = describeTree(source);
    expect(expected.size).toBeGreaterThan(100);
    expectSameTree(describeTree(target), expected);
    volume.dropCaches();
    expectSameTree(describeTree(target), expected);
  });

  it("git clones, checks out and commits", async () => {
    await gitAtWork(`${volume.place.folder}/origin`, `${volume.directory}/clone`);
  });

  it("SQLite keeps 30,000 rows", async () => {
    await sqliteRows(`${volume.directory}/wal.db`, "WAL", SQLITE_ROWS / 2);
    await sqliteRows(`${volume.directory}/delete.db`, "DELETE", SQLITE_ROWS / 2);
  });

  it.each(["psync", "mmap", "libaio"] as const)("fio verifies what it wrote at random (%s)", async (engine) => {
    await fioVerify(`${volume.directory}/fio-${engine}`, engine, FIO_MIB, volume.place.folder);
  });

  it("is all there after unmount, check and mount", async () => {
    kept = describeTree(volume.directory);
    await volume.unmount();
    await volume.check();
    await volume.mount();
    expectSameTree(describeTree(volume.directory), kept);
  });

  it.each([0, 1])("reads right with garbage in copy %d, which is repaired", async (spoiled) => {
    const before = (await volume.status()) as VolumeReport;
    await volume.unmount();
    const image = volume.images[spoiled] as string;
    spoil(image, 100 + spoiled);
    const found = await volume.place.run("fsck.h2ts", "-n", "-f", ...volume.images);
    expect(found.code).toBe(4);
    await volume.mount();
    expectSameTree(describeTree(volume.directory), kept);
    const report = (await volume.status()) as VolumeReport;
    expect(report.state).toBe("ONLINE");
    // Counters outlive a mount: those of the other copy may not be zero, but have not risen.
    expect(report.copies[1 - spoiled]?.errors).toEqual(before.copies[1 - spoiled]?.errors);
    await volume.unmount();
    // What a mount reads of one copy only is looked at by fsck, which repairs it.
    expect((await volume.place.run("fsck.h2ts", "-p", "-f", ...volume.images)).code).toBeLessThanOrEqual(1);
    await volume.check();
    await volume.mount();
  });
});
