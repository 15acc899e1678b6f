// Two hosts that mount one export: ours keeps the second out by its lease, one of others by the heartbeat. The first is not
// harmed, comes back to what is its own, and when it is gone for good the second gets in (I11).

import { symlinkSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ForeignServer, imageIn, startExport, startNbdkit, temporaryFolder } from "../nbd/foreign-servers.ts";
import { mountsImpossible, type Outcome } from "./cli-place.ts";
import { CopiesPlace, killed, Work } from "./copies-place.ts";

const MIB = 1024 * 1024;
/** Longer than a mount waits for it. */
const LEASE_SECONDS = 30;
/** For longer than a mount waits, by far: whoever comes on a busy machine is refused all the same. */
const KEPT_SECONDS = 50;

let place: CopiesPlace;
let local: string;
let away: ReturnType<typeof temporaryFolder>;
let server: ForeignServer;
beforeEach(() => {
  place = new CopiesPlace();
  local = imageIn(place.folder, 64 * MIB, "local.img");
  away = temporaryFolder();
  symlinkSync(away.path, place.path("network"));
  imageIn(away.path, 64 * MIB, "remote.img");
});
afterEach(async () => {
  place.clear();
  await server.stop();
  away.dispose();
});

/** A volume with a copy here and one there, mounted, and work on it. */
async function mounted(seed: number): Promise<Work> {
  expect(await place.run("mkfs.h2ts", "-q", local, server.target)).toMatchObject({ code: 0, out: "", err: "" });
  await place.h2ts("mount", local, server.target, place.mnt);
  const work = new Work(place.mnt, seed);
  work.start();
  return work;
}

/** The export by the name another host has for it: this one would know from its own mount table. */
const other = (): string => server.target.replace(away.path, place.path("network"));

/** Another host has only what the server has. */
const mountElsewhere = (): Promise<Outcome> =>
  place.run("h2ts", "mount", "-o", "degraded", other(), place.mountPoint("elsewhere"));

/** The copies are in sync, nothing of the kind was ever said, and work goes on. */
async function unharmed(work: Work): Promise<void> {
  await work.stop();
  await work.verify();
  expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
  expect((await place.status()).notes.filter((note) => /given up|dropped|took the volume over/.test(note))).toEqual([]);
  work.start();
}

describe.skipIf(mountsImpossible() !== undefined)("an export of ours", () => {
  it("refuses everybody but the host that has it, whatever they want; to that it is open again at once", async () => {
    server = await startExport(away.path, `${away.path}/remote.img`, { words: ["--lease", String(LEASE_SECONDS)] });
    const work = await mounted(31);
    // All at once: some of them wait for a while whether it becomes free.
    const [elsewhere, ...others] = await Promise.all([
      mountElsewhere(),
      place.run("mkfs.h2ts", "-q", "-f", other()),
      place.run("fsck.h2ts", "-y", "-f", other()),
      place.run("h2ts", "mount", "-o", "ro,degraded", other(), place.mountPoint("look")),
    ]);
    expect(elsewhere).toMatchObject({ code: 32, out: "" });
    expect(elsewhere.err.trim().split("\n")).toHaveLength(1);
    expect(elsewhere.err).toMatch(/in use by client \d+; one client at a time may write/);
    for (const { code, err } of others) {
      expect(code).not.toBe(0);
      expect(err).toMatch(/in use by client/);
    }
    await unharmed(work);
    await killed((await place.daemon()).workerPid);
    await expect.poll(() => place.states(), { timeout: 20_000 }).toEqual(["ONLINE", "ONLINE"]);
    expect((await place.run("mkfs.h2ts", "-q", "-f", other())).err).toMatch(/in use by client/);
    await unharmed(work);
    await work.stop();
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [local, server.target]);
  });

  it("is kept for a host that vanished as long as it says, and free then", async () => {
    server = await startExport(away.path, `${away.path}/remote.img`, { words: ["--lease", String(KEPT_SECONDS)] });
    const work = await mounted(32);
    await work.stop();
    await place.h2ts("sync", place.mnt);
    const { supervisorPid, workerPid } = await place.daemon();
    await killed(supervisorPid, workerPid);
    expect((await mountElsewhere()).err).toMatch(/is kept for client \d+, whose connection broke/);
    const code = async (): Promise<number | null> => (await mountElsewhere()).code;
    await expect.poll(code, { timeout: 3 * KEPT_SECONDS * 1000 }).toBe(0);
    await work.verify(place.path("elsewhere"));
    await place.h2ts("umount", place.path("elsewhere"));
  });
});

describe.skipIf(mountsImpossible() !== undefined)("an export of others", () => {
  it("is kept from the second host by the heartbeat, until the first is gone for a lease", async () => {
    server = await startNbdkit(away.path, ["file", `${away.path}/remote.img`]);
    const work = await mounted(33);
    const elsewhere = await mountElsewhere();
    expect(elsewhere).toMatchObject({ code: 32, out: "" });
    expect(elsewhere.err).toMatch(/is in use by another host; unmount it there first/);
    const [quiet, telling] = await Promise.all(
      [["-q"], []].map((words) => place.run("mkfs.h2ts", ...words, "-f", other())),
    );
    for (const formatted of [quiet!, telling!]) {
      expect(formatted).toMatchObject({ code: 1, out: "" });
      expect(formatted.err).toMatch(/is in use by another host; unmount it there first\n$/);
    }
    expect(quiet!.err.trim().split("\n")).toHaveLength(1);
    expect(telling!.err).toMatch(
      /^mkfs\.h2ts: .*: a host has, or had, this mounted; watching for 20 s whether it still has\n/,
    );
    await unharmed(work);
    await work.stop();
    await place.h2ts("sync", place.mnt);
    const { supervisorPid, workerPid } = await place.daemon();
    await killed(supervisorPid, workerPid);
    const beganMs = performance.now();
    expect(await mountElsewhere()).toMatchObject({ code: 0 });
    // It watched for a whole lease.
    expect(performance.now() - beganMs).toBeGreaterThan(20_000);
    await work.verify(place.path("elsewhere"));
    await place.h2ts("umount", place.path("elsewhere"));
  });
});
