// The image of a copy is deleted or cut off under its mount: the copy is dropped, work goes on, and what can be done about it
// is said and works (I1, I2, I6).

import { rmSync, truncateSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

async function threeAtWork(seed: number): Promise<{ work: Work; images: [string, string, string] }> {
  const images = ["a.img", "b.img", "c.img"].map((name) => place.path(name)) as [string, string, string];
  await place.format("64M", images);
  await place.h2ts("mount", "-o", "commit=1", ...images, place.mnt);
  const work = new Work(place.mnt, seed);
  await work.run(10);
  work.start();
  return { work, images };
}

describe.skipIf(mountsImpossible() !== undefined)("an image that is lost under its mount", () => {
  it("deleted: its copy is dropped, and replaced by a new image at the same path", async () => {
    const { work, images } = await threeAtWork(21);
    rmSync(images[1]);
    await place.until(["ONLINE", "FAULTED", "ONLINE"]);
    expect((await place.status()).copies[1]?.note).toMatch(/b\.img.*was deleted/);
    const gone = await place.run("h2ts", "online", place.mnt, "1");
    expect(gone).toMatchObject({ code: 2, out: "" });
    expect(gone.err).toMatch(/b\.img: no such file/);
    await place.h2ts("replace", "-s", "64M", place.mnt, "1", images[1]);
    await place.h2ts("wait", place.mnt);
    await work.stop();
    expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, images);
  });

  it("cut off with its header: online says that only replace helps, and it does", async () => {
    const { work, images } = await threeAtWork(22);
    truncateSync(images[1], 0);
    await place.until(["ONLINE", "FAULTED", "ONLINE"]);
    const refused = await place.run("h2ts", "online", place.mnt, "1");
    expect(refused).toMatchObject({ code: 32, out: "" });
    expect(refused.err).toMatch(
      /^h2ts: [^\n]*b\.img: holds no copy of this volume any more[^\n]*h2ts replace DIR 1 TARGET\n$/,
    );
    truncateSync(images[1], 0);
    truncateSync(images[1], 64 << 20);
    await place.h2ts("replace", place.mnt, "1", images[1]);
    await place.h2ts("wait", place.mnt);
    await work.stop();
    expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, images);
  });
});
