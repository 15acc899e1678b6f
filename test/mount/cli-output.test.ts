// What commands print, and nobody may want to read.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DIST, Place } from "./cli-place.ts";

describe.skipIf(!existsSync(DIST))("a reader that has had enough", () => {
  let place: Place;
  beforeEach(async () => {
    place = new Place();
    await place.succeeds("mkfs.h2ts", "-q", "-s", "64M", "a.img");
  });
  afterEach(() => place.clear());

  it.each(["src/cli.js status --watch 0.1 a.img", "src/cli/mount-helper.js --help", "mkfs/main.js --help"])(
    "is no failure of %s",
    (command) => {
      // The reader is gone before anything is printed.
      const script = `(sleep 0.1; exec "$0" ${DIST}/${command}) | true; exit "\${PIPESTATUS[0]}"`;
      const options = { cwd: place.folder, encoding: "utf8" } as const;
      const { stderr, status } = spawnSync("bash", ["-c", script, process.execPath], options);
      expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
    },
  );
});
