// Garbage on one copy while the volume is not mounted: every file still reads right, status counts it, and the copy is
// good again on the media.

import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import type { VolumeReport } from "../../src/daemon/volume-report.ts";
import { Place, mountsImpossible } from "./cli-place.ts";

const FILES = 200;

let place: Place;
beforeEach(() => {
  place = new Place();
});
afterEach(() => place.clear());

const FORMATTED = ["-q", "-s", "48M", "a.img", "b.img"];
const ROOT_AT_BYTES = 64 * 1024;
const BLOCK_BYTES = 64 * 1024;

describe.skipIf(mountsImpossible() !== undefined)("garbage while the volume is not mounted", () => {
  it.each(["a.img", "b.img"])("over a root of %s is gone after a mount that changes nothing", async (image) => {
    const mnt = place.mountPoint();
    expect((await place.run("mkfs.h2ts", ...FORMATTED)).code).toBe(0);
    const fd = openSync(place.path(image), "r+");
    writeSync(fd, new SeededRandom(5).bytes(4096), 0, 4096, ROOT_AT_BYTES);
    closeSync(fd);
    expect((await place.run("fsck.h2ts", "-n", "-f", "a.img", "b.img")).code).toBe(4);
    expect((await place.run("h2ts", "mount", "a.img", "b.img", mnt)).code).toBe(0);
    const report = JSON.parse((await place.run("h2ts", "status", "-j", mnt)).out) as VolumeReport;
    const copy = report.copies[image === "a.img" ? 0 : 1];
    expect(copy).toMatchObject({ errors: { checksum: 1 }, repaired: 1 });
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);
    expect((await place.run("fsck.h2ts", "-n", "-f", "a.img", "b.img")).code).toBe(0);
  });

  it("over the same block of both copies is EIO there, and told", async () => {
    const mnt = place.mountPoint();
    expect((await place.run("mkfs.h2ts", ...FORMATTED)).code).toBe(0);
    expect((await place.run("h2ts", "mount", "a.img", "b.img", mnt)).code).toBe(0);
    const contents = new SeededRandom(6).bytes(3 * BLOCK_BYTES);
    writeFileSync(`${mnt}/file`, contents);
    writeFileSync(`${mnt}/other`, "as it was");
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);
    const lost = contents.subarray(BLOCK_BYTES, 2 * BLOCK_BYTES);
    for (const image of ["a.img", "b.img"]) {
      const at = readFileSync(place.path(image)).indexOf(lost);
      expect(at).toBeGreaterThan(0);
      const fd = openSync(place.path(image), "r+");
      writeSync(fd, "garbage", at + 1000);
      closeSync(fd);
    }
    expect((await place.run("h2ts", "mount", "a.img", "b.img", mnt)).code).toBe(0);
    for (let again = 0; again < 2; again++) expect(() => readFileSync(`${mnt}/file`)).toThrow(/EIO/);
    expect(readFileSync(`${mnt}/other`, "utf8")).toBe("as it was");
    const report = JSON.parse((await place.run("h2ts", "status", "-j", mnt)).out) as VolumeReport;
    expect(report.dataErrors).toBe(1);
    expect((await place.run("h2ts", "status", mnt)).out).toMatch(/errors: 1 data error/);
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);
  });
});

describe.skipIf(mountsImpossible() !== undefined)("a spoiled copy", () => {
  it.each([0, 1])("%d is served from the other one and repaired", async (spoiled) => {
    const random = new SeededRandom(7 + spoiled);
    const mnt = place.mountPoint();
    expect((await place.run("mkfs.h2ts", "-q", "-s", "48M", "a.img")).code).toBe(0);
    expect((await place.run("mkfs.h2ts", "-q", "-f", "-s", "64M", "a.img", "b.img")).code).toBe(0);
    const images = [place.path("a.img"), place.path("b.img")];
    expect((await place.run("h2ts", "mount", ...images, mnt)).code).toBe(0);
    const contents = new Map<string, Uint8Array>();
    for (let i = 0; i < FILES; i++) {
      if (i % 20 === 0) mkdirSync(`${mnt}/folder${i}`);
      const bytes = random.bytes(random.below(i % 10 === 0 ? 200_000 : 3000));
      const name = `folder${i - (i % 20)}/file${i}`;
      writeFileSync(`${mnt}/${name}`, bytes);
      contents.set(name, bytes);
    }
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);

    // Everything between the ring areas, in pieces: data, inodes, directories, indirect blocks, freemap, PFS.
    const fd = openSync(images[spoiled] as string, "r+");
    for (let at = 64 + 256; at < 40 * 1024; at += 8) {
      if (random.below(4) > 0) writeSync(fd, random.bytes(1024), 0, 1024, (at + random.below(8)) * 1024);
    }
    closeSync(fd);

    expect((await place.run("h2ts", "mount", ...images, mnt)).code).toBe(0);
    for (const [name, bytes] of contents) expect(readFileSync(`${mnt}/${name}`).equals(bytes), name).toBe(true);
    const report = JSON.parse((await place.run("h2ts", "status", "-j", mnt)).out) as VolumeReport;
    expect(report.state).toBe("ONLINE");
    expect(report.copies[spoiled]?.errors.checksum).toBeGreaterThan(0);
    expect(report.copies[spoiled]?.repaired).toBeGreaterThan(0);
    expect(report.copies[1 - spoiled]?.errors).toEqual({ read: 0, write: 0, checksum: 0 });
    const text = (await place.run("h2ts", "status", mnt)).out;
    expect(text).toMatch(new RegExp(`status: copy ${spoiled} returned wrong bytes`));
    expect(text).toMatch(/action: /);
    expect(text).toMatch(/errors: No known data errors$/m);
    expect((await place.run("h2ts", "umount", mnt)).code).toBe(0);
    // Nothing but reading was done, and yet it is remembered.
    const atRest = JSON.parse((await place.run("h2ts", "status", "-j", ...images)).out) as VolumeReport;
    expect(atRest.copies[spoiled]).toMatchObject({
      errors: report.copies[spoiled]?.errors,
      repaired: report.copies[spoiled]?.repaired,
    });
    // Metadata is read from the first copy, so only data is sure to have been met on the second: fsck finds the rest.
    expect((await place.run("fsck.h2ts", "-y", "-f", ...images)).code).toBeLessThanOrEqual(1);
    const check = await place.run("fsck.h2ts", "-n", "-f", ...images);
    expect(check, check.out + check.err).toMatchObject({ code: 0 });
  });
});
