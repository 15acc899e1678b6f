// What commands print, and nobody may want to read, or the system can't write.

import { spawnSync } from "node:child_process";
import { existsSync, statSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DIST, mountsImpossible, Place } from "./cli-place.ts";

let place: Place;
beforeEach(async () => {
  if (!existsSync(DIST)) return;
  place = new Place();
  await place.succeeds("mkfs.h2ts", "-q", "-s", "64M", "a.img", "b.img");
});
afterEach(() => existsSync(DIST) && place.clear());

/** What bash makes of a command line in which $0 is Node. */
function bash(script: string): { readonly stderr: string; readonly status: number | null } {
  const options = { cwd: place.folder, encoding: "utf8", timeout: 30_000 } as const;
  const { stderr, status } = spawnSync("bash", ["-c", script, process.execPath], options);
  return { stderr, status };
}

describe.skipIf(!existsSync(DIST))("a reader that has had enough", () => {
  it.each(["src/cli.js status --watch 0.1 a.img b.img", "src/cli/mount-helper.js --help", "mkfs/main.js --help"])(
    "is no failure of %s",
    (command) => {
      // The reader is gone before anything is printed.
      const outcome = bash(`(sleep 0.1; exec "$0" ${DIST}/${command}) | true; exit "\${PIPESTATUS[0]}"`);
      expect(outcome).toEqual({ stderr: "", status: 0 });
    },
  );
});

describe.skipIf(!existsSync(DIST) || !existsSync("/dev/full"))("an output that can't be written", () => {
  it.each([
    // Nothing else was asked for.
    ["h2ts", "src/cli.js status a.img b.img", 2],
    ["h2ts", "src/cli.js status --watch 0.1 a.img b.img", 2],
    ["h2ts", "src/cli.js --help", 2],
    ["mount.h2ts", "src/cli/mount-helper.js --help", 2],
    ["mkfs.h2ts", "mkfs/main.js -f --dry-run a.img", 1],
    // The volume is made.
    ["mkfs.h2ts", "mkfs/main.js -f -s 48M a.img", 0],
    // Nobody knows what was found: 8, beside what is known (4, one copy was not given).
    ["fsck.h2ts", "fsck/main.js -n a.img b.img", 8],
    ["fsck.h2ts", "fsck/main.js -n -j a.img b.img", 8],
    ["fsck.h2ts", "fsck/main.js -n -f a.img", 12],
    ["fsck.h2ts", "fsck/main.js --help", 8],
  ])("is told of by %s in one line: %s", (name, command, status) => {
    const outcome = bash(`exec "$0" ${DIST}/${command} > /dev/full`);
    expect(outcome).toEqual({ stderr: `${name}: write error: no space left on device\n`, status });
    if (command.includes("48M")) expect(statSync(place.path("a.img")).size).toBe(48 * 2 ** 20);
  });

  it.skipIf(mountsImpossible() !== undefined)("changes nothing about what a command did, or found", () => {
    const mnt = place.mountPoint();
    const mount = `${DIST}/src/cli.js mount -o nowarmup,degraded a.img ${mnt}`;
    expect(bash(`exec "$0" ${mount} > /dev/full 2> /dev/full`).status).toBe(0);
    expect(place.mounts()).toEqual([mnt]);
    expect(bash(`exec "$0" ${mount} > /dev/full 2> /dev/full`).status).toBe(32);
    expect(bash(`exec "$0" ${DIST}/src/cli.js umount ${mnt} > /dev/full 2> /dev/full`).status).toBe(0);
    expect(bash(`exec "$0" ${DIST}/fsck/main.js -n -f b.img > /dev/null 2> /dev/full`).status).toBe(4);
  });
});
