// A volume that gets copies, loses them for good and moves from one to another under work; and a scrub (I2, I5, I8).

import { spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, truncateSync, writeFileSync, writeSync } from "node:fs";
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
    const [a, b, c, d] = place.images("a", "b", "c", "d");
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
    expect(used.err).toMatch(/a\.img: holds an h2ts volume; -f gives that up\n$/);
    await place.h2ts("replace", "-s", "72M", place.mnt, "1", d);
    await work.run(10);
    await place.h2ts("wait", place.mnt);
    await place.h2ts("scrub", place.mnt);
    await place.h2ts("wait", "-t", "scrub", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.examine(work, [c, d]);
  });

  it("are not made of what somebody still wants, or uses", async () => {
    const [a, b, held] = place.images("a", "b", "held");
    await place.format("64M", [a]);
    await place.h2ts("mount", a, place.mnt);
    const sizeBytes = 32 << 20;
    const holding = (at: number, bytes: string): void => {
      writeFileSync(held, "");
      truncateSync(held, sizeBytes);
      const fd = openSync(held, "r+");
      writeSync(fd, Buffer.from(bytes, "latin1"), 0, bytes.length, at);
      closeSync(fd);
    };
    const cases: [number, string, RegExp][] = [
      [0x438, "\x53\xef", /held\.img: holds an ext2\/3\/4 filesystem; -f gives that up\n$/],
      [0x10040, "_BHRfS_M", /holds a btrfs filesystem/],
      [700_000, "thesis", /holds data of an unknown kind/],
      [20_000_000, "thesis", /holds data of an unknown kind/],
    ];
    // At the very end of a disk, and only blkid knows it.
    if (spawnSync("blkid", ["-V"]).status === 0)
      cases.push([sizeBytes - 1024, "Intel Raid ISM Cfg Sig. 1.3.00", /holds an isw_raid_member signature/]);
    for (const [at, bytes, message] of cases) {
      holding(at, bytes);
      for (const words of [
        ["attach", place.mnt],
        ["replace", place.mnt, "0"],
      ]) {
        const refused = await place.run("h2ts", ...words, held);
        expect(refused).toMatchObject({ code: 32, out: "" });
        expect(refused.err).toMatch(message);
      }
    }
    const loop = place.loop(held);
    if (loop !== undefined) {
      const refused = await place.run("h2ts", "attach", "-f", place.mnt, held);
      expect(refused.err).toMatch(/held\.img: is attached to \/dev\/loop\d+; nothing was changed\n$/);
      spawnSync("losetup", ["-d", loop]);
    }
    await place.h2ts("attach", "-f", place.mnt, held);
    await place.h2ts("attach", "-s", "32M", place.mnt, b);
    await place.h2ts("wait", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
  });
});
