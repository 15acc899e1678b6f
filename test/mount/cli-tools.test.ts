// mkfs.h2ts and fsck.h2ts as programs: what one would do and does not, and what the other shows meanwhile.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { imageIn, startExport } from "../nbd/foreign-servers.ts";
import { DIST, Place } from "./cli-place.ts";

let place: Place;
beforeEach(async () => {
  if (!existsSync(DIST)) return;
  place = new Place();
  await place.succeeds("mkfs.h2ts", "-q", "-s", "64M", "a.img", "b.img");
});
afterEach(() => existsSync(DIST) && place.clear());

describe.skipIf(!existsSync(DIST))("mkfs.h2ts --dry-run", () => {
  it("says what would be made, of images, a row and an export, and leaves all as it is", async () => {
    const server = await startExport(place.folder, imageIn(place.folder, 32 << 20, "served.img"));
    try {
      const names = readdirSync(place.folder);
      const images = names.filter((name) => name.endsWith(".img")).map((name) => place.path(name));
      const before = images.map((path) => [statSync(path).mtimeMs, readFileSync(path)] as const);
      const words = ["-f", "-L", "other", "-U", "7b0f0c52-1d6d-4d6c-9d2c-3a1f5b0a8e11", "-s", "48M"];
      words.push("a.img", "b.img+new.img", server.target);
      const { out } = await place.succeeds("mkfs.h2ts", "--dry-run", ...words);
      expect(out).toMatch(/^would make h2ts volume other \(7b0f0c52-[^]*\nnothing was changed\n$/);
      expect(readdirSync(place.folder)).toEqual(names);
      for (const [i, path] of images.entries()) {
        expect(statSync(path).mtimeMs, path).toBe(before[i]?.[0]);
        expect(readFileSync(path).equals(before[i]?.[1] as Buffer), path).toBe(true);
      }
      // It was right.
      const made = await place.succeeds("mkfs.h2ts", ...words);
      expect(made.out).toBe(out.replace("would make", "made").replace("nothing was changed\n", ""));
      expect(["a.img", "b.img", "new.img"].map((name) => statSync(place.path(name)).size)).toEqual(
        Array(3).fill(48 << 20),
      );
    } finally {
      await server.stop();
    }
  });
});

describe.skipIf(!existsSync(DIST))("fsck.h2ts -C", () => {
  /** What a terminal gets as standard error; standard output is in `report`. */
  function onTerminal(...words: string[]): string {
    const command = `'${process.execPath}' ${DIST}/fsck/main.js -n -f ${words.join(" ")} a.img b.img > report`;
    const options = { cwd: place.folder, encoding: "utf8", timeout: 60_000 } as const;
    const { status, stdout } = spawnSync("script", ["-qec", command, "/dev/null"], options);
    expect(status, stdout).toBe(0);
    return stdout;
  }

  it("shows a bar on a terminal, and takes it away again; nowhere else, and not unasked", async () => {
    const report = (): string => readFileSync(place.path("report"), "utf8");
    expect(onTerminal()).toBe("");
    const unasked = report();
    expect(unasked).toMatch(/: clean\n$/);
    // As fsck(8) hands it on.
    const shown = onTerminal("-C0");
    expect(shown).toMatch(/\[[^\]]*\] +\d+% \| \d+\/\d+ MiB \| ETA /);
    // The line is cleared last.
    expect(shown.slice(-4)).toBe("\u001b[2K");
    expect(report()).toBe(unasked);
    expect(await place.run("fsck.h2ts", "-n", "-f", "-C", "a.img", "b.img")).toEqual({
      code: 0,
      out: unasked,
      err: "",
    });
  });
});
