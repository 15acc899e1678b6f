// What a program was told to be durable is there when supervisor and worker are both killed, and with them everything that was only in
// memory; what it was not told is not there, or this test could not tell the two apart (I4).

import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, killed } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

const { O_CREAT, O_WRONLY, O_SYNC, O_DSYNC } = constants;
const CONTENT = Buffer.alloc(10_000, "written ");

const WAYS: Readonly<Record<string, (path: string) => void>> = {
  fsync: (path) => written(path, 0, fsyncSync),
  fdatasync: (path) => written(path, 0, fdatasyncSync),
  "a write with O_SYNC": (path) => written(path, O_SYNC),
  "a write with O_DSYNC": (path) => written(path, O_DSYNC),
  "fsync of the folder": (path) => {
    written(path, 0);
    const fd = openSync(join(path, ".."), "r");
    fsyncSync(fd);
    closeSync(fd);
  },
};

function written(path: string, flags: number, sync: (fd: number) => void = () => undefined): void {
  const fd = openSync(path, O_CREAT | O_WRONLY | flags, 0o644);
  writeSync(fd, CONTENT);
  sync(fd);
  closeSync(fd);
}

describe.skipIf(mountsImpossible() !== undefined)("made durable", () => {
  for (const [way, make] of Object.entries(WAYS)) {
    it(`by ${way}: is there after both processes were killed`, async () => {
      const [a, b] = place.images("a", "b");
      await place.format("32M", [a, b]);
      // No commit by time, which would make everything durable.
      await place.h2ts("mount", "-o", "commit=300", a, b, place.mnt);
      const folder = join(place.mnt, "folder");
      mkdirSync(folder);
      make(join(folder, "durable"));
      mkdirSync(join(folder, "only-in-memory"));
      const { supervisorPid, workerPid } = await place.daemon();
      await killed(supervisorPid);
      await killed(workerPid);
      expect(spawnSync("umount", ["-l", place.mnt]).status).toBe(0);
      await place.h2ts("mount", a, b, place.mnt);
      expect(readdirSync(folder)).toEqual(["durable"]);
      const content = readFileSync(join(folder, "durable"));
      // A folder's own fsync covers names, not what the kernel still had of the file.
      if (way !== "fsync of the folder") expect(content.equals(CONTENT)).toBe(true);
      await place.h2ts("umount", place.mnt);
      expect(await place.run("fsck.h2ts", "-n", "-f", a, b)).toMatchObject({ code: 0 });
    });
  }
});
