// A full volume, as programs meet it that never close a file and never fsync: a write soon fails with ENOSPC, none of a file that
// has room does, and once there is room writes go on.

import { closeSync, fsyncSync, openSync, statSync, unlinkSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { MountedVolume } from "./posix-mounted.ts";
import { errnoOf } from "./posix-system.ts";

const MIB = 1024 * 1024;
const SIZE_MIB = 64;
/** The kernel keeps some before it writes any of it back. */
const WRITTEN_MAX_MIB = 16 * SIZE_MIB;

const content = new Uint8Array(MIB).map((_, i) => i * 7);

/** Writes until that fails; MiB written. */
function fill(fd: number): { readonly writtenMib: number; readonly code: string | undefined } {
  for (let writtenMib = 0; writtenMib < WRITTEN_MAX_MIB; writtenMib++) {
    const code = errnoOf(() => writeSync(fd, content));
    if (code !== "none") return { writtenMib, code };
  }
  return { writtenMib: WRITTEN_MAX_MIB, code: undefined };
}

describe.skipIf(mountsImpossible() !== undefined)("a full volume", () => {
  let volume: MountedVolume;
  beforeEach(async () => {
    volume = await MountedVolume.create("kernel", { firstMib: SIZE_MIB, secondMib: SIZE_MIB });
  });
  afterEach(() => volume.destroy());

  it("tells whoever goes on writing, as soon as something could not be written back", async () => {
    const [ballast, big, small] = ["ballast", "big", "small"].map((name) => join(volume.directory, name)) as [
      string,
      string,
      string,
    ];
    writeFileSync(ballast, new Uint8Array(8 * MIB).fill(1));
    const fd = openSync(big, "a+");
    expect(fill(fd)).toMatchObject({ code: "ENOSPC" });
    // Looking at it is no writing, and a file of which nothing was refused is written as before.
    expect(statSync(big).size).toBeGreaterThan(MIB);
    writeFileSync(small, "");
    // What was refused is told to fsync, too; then there is room, and nothing is told any more.
    expect(errnoOf(() => fsyncSync(fd))).toBe("ENOSPC");
    unlinkSync(ballast);
    const root = openSync(volume.directory, "r");
    fsyncSync(root);
    closeSync(root);
    expect(writeSync(fd, content.subarray(0, 4096))).toBe(4096);
    fsyncSync(fd);
    closeSync(fd);
    await volume.unmount();
    await volume.check();
  });
});
