// Copies that are not there: missing at the mount, taken out by the operator and brought back, and mistakes with the verbs
// (I6–I8, and when a volume mounts by itself).

import { renameSync, rmSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

const named = (...names: string[]): string[] => names.map((name) => place.path(name));

describe.skipIf(mountsImpossible() !== undefined)("a copy that is not there", () => {
  it("of two: the mount is refused and names it, -o degraded goes on, fsck --resync brings it back", async () => {
    const [a, b] = named("a.img", "b.img") as [string, string];
    await place.format("64M", [a, b]);
    await place.h2ts("mount", a, b, place.mnt);
    const work = new Work(place.mnt, 1);
    await work.run(20);
    await place.h2ts("umount", place.mnt);
    renameSync(b, `${b}.away`);
    const refused = await place.run("h2ts", "mount", a, b, place.mnt);
    expect(refused).toMatchObject({ code: 32, out: "" });
    expect(refused.err).toMatch(/^h2ts: [^\n]*copy 1 is missing, last seen at [^\n]*b\.img[^\n]*-o degraded[^\n]*\n$/);
    const mounted = await place.succeeds("h2ts", "mount", "-o", "degraded", a, b, place.mnt);
    expect(mounted).toMatchObject({ out: "" });
    expect(mounted.err).toMatch(/^h2ts: warning: [^\n]*copy 1 [^\n]*b\.img[^\n]*MISSING[^\n]*\n$/);
    expect(await place.states()).toEqual(["ONLINE", "MISSING"]);
    await work.run(20);
    await place.h2ts("umount", place.mnt);
    renameSync(`${b}.away`, b);
    const resynced = await place.run("fsck.h2ts", "--resync", a, b);
    expect(resynced).toMatchObject({ code: 1, err: "" });
    expect(resynced.out).toMatch(/every copy at hand is in sync/);
    expect((await place.run("fsck.h2ts", "--resync", a, b)).code).toBe(0);
    await place.examine(work, [a, b]);
  });

  it("of three: the volume mounts by itself, and the copy comes online from where it is now", async () => {
    const [a, b, c] = named("a.img", "b.img", "c.img") as [string, string, string];
    await place.format("64M", [a, b, c]);
    await place.h2ts("mount", a, b, c, place.mnt);
    const work = new Work(place.mnt, 2);
    await work.run(20);
    await place.h2ts("umount", place.mnt);
    const moved = place.path("moved.img");
    renameSync(c, moved);
    expect(await place.succeeds("h2ts", "mount", a, b, c, place.mnt)).toMatchObject({ out: "" });
    await work.run(20);
    const nowhere = await place.run("h2ts", "online", place.mnt, "2");
    expect(nowhere).toMatchObject({ code: 2, out: "" });
    expect(nowhere.err).toMatch(/c\.img: no such file/);
    const wrong = await place.run("h2ts", "online", place.mnt, "2", b);
    expect(wrong).toMatchObject({ code: 2, out: "" });
    await place.h2ts("online", place.mnt, "2", moved);
    await place.h2ts("wait", place.mnt);
    expect((await place.status()).copies[2]).toMatchObject({ state: "ONLINE", targets: [moved] });
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, b, moved]);
  });
});

describe.skipIf(mountsImpossible() !== undefined)("a copy taken out", () => {
  it("offline stays out over a mount, returns online under work, and holds everything again", async () => {
    const [a, b, c] = named("a.img", "b.img", "c.img") as [string, string, string];
    await place.format("64M", [a, b, c]);
    await place.h2ts("mount", "-o", "commit=1", a, b, c, place.mnt);
    const work = new Work(place.mnt, 3);
    await work.run(20);
    work.start();
    await place.h2ts("offline", place.mnt, "1");
    expect(await place.states()).toEqual(["ONLINE", "OFFLINE", "ONLINE"]);
    const refused = await place.run("h2ts", "offline", place.mnt, "2");
    expect(refused).toMatchObject({ code: 32, out: "" });
    expect(refused.err).toMatch(/copy 2 is needed/);
    await work.stop();
    // Let go: another program may have its image.
    expect(await place.run("fsck.h2ts", "-n", b)).toMatchObject({ code: 4, err: "" }); // The others are not given.
    await place.h2ts("umount", place.mnt);
    expect((await place.run("h2ts", "mount", "-o", "commit=1", a, b, c, place.mnt)).err).toMatch(/copy 1 .* OFFLINE/);
    expect(await place.states()).toEqual(["ONLINE", "OFFLINE", "ONLINE"]);
    work.start();
    await place.h2ts("online", place.mnt, "1");
    await place.h2ts("wait", "-t", "resync,scrub", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
    await work.stop();
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, b, c]);
  });

  it("suspended returns with resume or by the next mount; the master selected is remembered", async () => {
    const [a, b, c] = named("a.img", "b.img", "c.img") as [string, string, string];
    await place.format("64M", [a, b, c]);
    await place.h2ts("mount", a, b, c, place.mnt);
    const work = new Work(place.mnt, 4);
    await work.run(10);
    const { copies } = await place.status();
    await place.h2ts("select-master", place.mnt, (copies[2]?.uuid ?? "").slice(0, 8));
    await place.h2ts("suspend", place.mnt, "0");
    expect(await place.states()).toEqual(["SUSPENDED", "ONLINE", "ONLINE"]);
    expect(await place.run("h2ts", "select-master", place.mnt, "0")).toMatchObject({ code: 32, out: "" });
    await work.run(10);
    await place.h2ts("resume", place.mnt, "0");
    await place.h2ts("wait", place.mnt);
    await place.h2ts("suspend", place.mnt, "0");
    await work.run(10);
    await place.h2ts("umount", place.mnt);
    expect((await place.run("h2ts", "mount", a, b, c, place.mnt)).code).toBe(0);
    await place.h2ts("wait", place.mnt);
    expect((await place.status()).copies.map(({ state, role }) => `${state} ${role}`)).toEqual([
      "ONLINE copy",
      "ONLINE copy",
      "ONLINE master",
    ]);
    expect(await place.run("h2ts", "online", place.mnt, "7")).toMatchObject({ code: 1, out: "" });
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, b, c]);
  });

  it("without room beside its last complete state says so, and gives that up when told to", async () => {
    const [a, b] = named("a.img", "b.img") as [string, string];
    await place.format("24M", [a, b]);
    await place.h2ts("mount", a, b, place.mnt);
    const work = new Work(place.mnt, 7);
    await work.writeBig(12 << 20);
    await place.h2ts("offline", place.mnt, "1");
    await work.run(5);
    for (let commits = 0; commits < 3; commits++) {
      rmSync(`${place.mnt}/big`, { force: true });
      await work.run(1);
      await place.h2ts("sync", place.mnt);
    }
    await work.writeBig(11 << 20);
    await place.h2ts("online", place.mnt, "1");
    const waited = await place.run("h2ts", "wait", place.mnt);
    expect(waited).toMatchObject({ code: 32, out: "" });
    expect(waited.err).toMatch(/copy 1 is not in sync: it has no room/);
    expect(await place.states()).toEqual(["ONLINE", "NO-ROOM"]);
    await place.h2ts("online", "--no-anchor", place.mnt, "1");
    await place.h2ts("wait", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, b]);
  });

  it("can be made the master by force: the volume goes back to what it had, the others are left behind", async () => {
    const [a, b] = named("a.img", "b.img") as [string, string];
    await place.format("64M", [a, b]);
    await place.h2ts("mount", a, b, place.mnt);
    const kept = new Work(place.mnt, 5);
    await kept.run(20);
    await place.h2ts("sync", place.mnt);
    await place.h2ts("offline", place.mnt, "1");
    await new Work(place.mnt, 6).run(20);
    await place.h2ts("umount", place.mnt);
    const selected = await place.run("fsck.h2ts", "--select-master", "1", a, b);
    expect(selected).toMatchObject({ code: 4, err: "" });
    expect(selected.out).toMatch(/copy 0 .*divergent/);
    expect((await place.run("h2ts", "mount", a, b, place.mnt)).err).toMatch(/went another way/);
    expect(await place.succeeds("h2ts", "mount", b, place.mnt)).toMatchObject({ out: "" });
    await kept.verify();
    await place.h2ts("umount", place.mnt);
  });
});
