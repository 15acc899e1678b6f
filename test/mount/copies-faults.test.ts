// Copies lost under work on a real mount: the medium goes away beneath one of three copies, nothing that programs do fails,
// and where the medium comes back the copy is caught up (I1, I2, I5–I9).

import { truncateSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

describe.skipIf(mountsImpossible() !== undefined)("a copy whose medium fails under work", () => {
  it("is dropped when its image file is cut off, and the volume mounts without it", async () => {
    const [a, b, c] = ["a.img", "b.img", "c.img"].map((name) => place.path(name)) as [string, string, string];
    await place.format("96M", [a, b, c]);
    await place.h2ts("mount", "-o", "commit=1", a, b, c, place.mnt);
    const work = new Work(place.mnt, 1);
    await work.run(20);
    work.start();
    truncateSync(b, 0);
    await place.until(["ONLINE", "FAULTED", "ONLINE"]);
    await work.stop();
    const { copies, state } = await place.status();
    expect(state).toBe("DEGRADED");
    expect(copies[1]?.note).toMatch(/b\.img.*cut off/);
    const text = (await place.run("h2ts", "status", place.mnt)).out;
    expect(text).toMatch(/status: Copy 1 was dropped after an error/);
    expect(text).toContain(`h2ts online ${place.mnt} 1`);
    await work.verify();
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, c]);
    const mounted = await place.succeeds("h2ts", "mount", a, b, c, place.mnt);
    expect(mounted).toMatchObject({ out: "" });
    expect(mounted.err).toMatch(/^h2ts: warning: mounted degraded: copy 1 [^\n]+\n$/);
    await work.run(10);
    await work.verify();
    await place.h2ts("umount", place.mnt);
  });

  it("is dropped when there is no room under its sparse image, and caught up when there is again", async () => {
    const small = await place.tmpfs("small", "24M");
    const [a, b, c] = [place.path("a.img"), join(small, "b.img"), place.path("c.img")];
    await place.format("96M", [a, b, c]);
    const filler = join(small, "filler");
    writeFileSync(filler, Buffer.alloc(16 << 20));
    await place.h2ts("mount", "-o", "commit=1", a, b, c, place.mnt);
    const work = new Work(place.mnt, 2);
    work.start();
    await place.until(["ONLINE", "FAULTED", "ONLINE"]);
    await work.stop();
    expect((await place.status()).copies[1]).toMatchObject({ note: expect.stringMatching(/ENOSPC/) as unknown });
    await work.verify();
    await rm(filler);
    await place.h2ts("online", place.mnt, "1");
    await place.h2ts("wait", "-t", "resync", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
    await work.run(10);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, b, c]);
  });

  it("is dropped when its loop device gives EIO; reads are served from the others", async (context) => {
    const small = await place.tmpfs("small", "24M");
    const [a, file, c] = [place.path("a.img"), join(small, "b.img"), place.path("c.img")];
    await place.format("96M", [a, file, c]);
    const device = place.loop(file);
    if (device === undefined) return context.skip("no loop devices here");
    await place.h2ts("mount", "-o", "commit=1", a, device, c, place.mnt);
    const work = new Work(place.mnt, 3);
    await work.run(30);
    await place.h2ts("sync", place.mnt);
    // Reads past the end of the file behind it fail now, and so do writes that find no room in the tmpfs.
    writeFileSync(join(small, "filler"), Buffer.alloc(10 << 20));
    truncateSync(file, 4 << 20);
    work.start();
    await expect
      .poll(() => place.states(), { timeout: 30_000, interval: 200 })
      .toEqual(["ONLINE", "FAULTED", "ONLINE"]);
    await work.stop();
    await work.verify();
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [a, c]);
  });
});
