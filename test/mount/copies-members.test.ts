// A volume that gets copies, loses them for good and moves from one to another under work; and a scrub (I2, I5, I8).

import { existsSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

describe.skipIf(mountsImpossible() !== undefined)("the members of a mounted volume", () => {
  it("come by attach, go by detach, change by replace; each of those left holds everything", async () => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => place.path(`${name}.img`)) as [
      string,
      string,
      string,
      string,
    ];
    await place.format("64M", [a, b]);
    await place.h2ts("mount", a, b, place.mnt);
    const work = new Work(place.mnt, 7);
    await work.run(20);
    const small = await place.run("h2ts", "attach", "-s", "1M", place.mnt, c);
    expect(small).toMatchObject({ code: 32, out: "" });
    expect(existsSync(c), "an image of no use stays behind").toBe(false);
    const row = await place.run("h2ts", "attach", "-s", "80M", place.mnt, `${c}+${d}`);
    expect(row).toMatchObject({ code: 1, out: "" });
    await place.h2ts("attach", "-s", "80M", place.mnt, c);
    await work.run(10);
    await place.h2ts("wait", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
    await place.h2ts("detach", place.mnt, "0");
    await work.run(10);
    await place.h2ts("wait", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    const used = await place.run("h2ts", "replace", place.mnt, "1", a);
    expect(used).toMatchObject({ code: 32, out: "" });
    expect(used.err).toMatch(/a\.img: holds something; -f gives that up\n$/);
    await place.h2ts("replace", "-s", "72M", place.mnt, "1", d);
    await work.run(10);
    await place.h2ts("wait", place.mnt);
    await place.h2ts("scrub", place.mnt);
    await place.h2ts("wait", "-t", "scrub", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [c, d]);
  });
});
