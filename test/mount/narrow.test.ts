// copies=K on a real mount: set and read by the command, inherited, half the space on disk, whole with both copies at hand,
// EIO for just that file without the copy that has it (I5), and kept when that copy leaves for good (I1).

import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace } from "./copies-place.ts";

const MIB = 1024 * 1024;

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

describe.skipIf(mountsImpossible() !== undefined)("copies=K on a mounted volume", () => {
  it("is set, inherited, obeyed and outlived", async () => {
    const [a, b] = [place.path("a.img"), place.path("b.img")];
    await place.format("96M", [a, b]);
    await place.h2ts("mount", a, b, place.mnt);
    const scratch = join(place.mnt, "scratch");
    mkdirSync(scratch);
    await place.h2ts("set", "copies=1", scratch);
    mkdirSync(join(scratch, "deep"));
    expect(await place.run("h2ts", "get", "copies", join(scratch, "deep"))).toMatchObject({
      out: "copies=1\n",
      code: 0,
    });
    expect(await place.run("h2ts", "get", "copies", place.mnt, scratch)).toMatchObject({
      out: `${place.mnt}: copies=all\n${scratch}: copies=1\n`,
    });
    expect(await place.run("h2ts", "set", "copies=3", scratch)).toMatchObject({ code: 32 });
    expect(await place.run("h2ts", "set", "copies=9", scratch)).toMatchObject({ code: 1 });
    expect((await place.run("h2ts", "get", "copies", "/proc/self/status")).err).toMatch(/no file or directory of a/);

    const before = await used();
    const files = new Map<string, Buffer>();
    for (let i = 0; i < 8; i++) {
      const bytes = randomBytes(2 * MIB);
      files.set(join(scratch, "deep", `f${i}`), bytes);
      writeFileSync(join(scratch, "deep", `f${i}`), bytes);
    }
    writeFileSync(join(place.mnt, "safe"), randomBytes(MIB));
    await place.h2ts("sync", place.mnt);
    const grown = (await used()).map((bytes, i) => bytes - (before[i] as number));
    for (const bytes of grown) expect(bytes, grown.join()).toBeLessThan(13 * MIB);
    await place.h2ts("umount", place.mnt);

    const alone = place.mountPoint("alone");
    await place.succeeds("h2ts", "mount", "-o", "ro,degraded", a, alone);
    const answers = [...files.keys()].map((file) => answer(file.replace(place.mnt, alone), files.get(file) as Buffer));
    expect(new Set(answers)).toEqual(new Set(["whole", "EIO"]));
    expect(readFileSync(join(alone, "safe"))).toHaveLength(MIB);
    await place.h2ts("umount", alone);
    await place.succeeds("fsck.h2ts", "-n", "-f", a, b);

    await place.h2ts("mount", a, b, place.mnt);
    await place.h2ts("detach", place.mnt, "0");
    await expect.poll(async () => (await place.states()).length, { timeout: 30_000 }).toBe(1);
    for (const [file, bytes] of files) expect(answer(file, bytes), file).toBe("whole");
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", b);
  });
});

async function used(): Promise<number[]> {
  return (await place.status()).copies.map(({ usedBytes }) => usedBytes ?? 0);
}

function answer(file: string, bytes: Buffer): string {
  try {
    return readFileSync(file).equals(bytes) ? "whole" : "other bytes";
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
