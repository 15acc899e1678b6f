// An image file, loop devices on it and loop devices on those are one place: whoever has it by one name keeps the others closed (I11).
// Left out where the system has no loop devices.

import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdtempSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { usedBySystem } from "../../src/device/busy.ts";
import { openNode } from "../../src/device/open.ts";

const MIB = 1024 * 1024;
const hasLoops = existsSync("/dev/loop-control") && process.getuid?.() === 0;

describe.skipIf(!hasLoops)("a place of several names", () => {
  let folder: string;
  let image: string;
  let loops: string[];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "h2ts names "));
    image = join(folder, "a.img");
    writeFileSync(image, "");
    truncateSync(image, 8 * MIB);
    loops = [];
  });
  afterEach(() => {
    for (const loop of loops.toReversed()) execFileSync("losetup", ["--detach", loop]);
    rmSync(folder, { recursive: true, force: true });
  });

  function attach(path: string, ...options: string[]): string {
    const loop = execFileSync("losetup", ["--find", "--show", ...options, path], { encoding: "utf8" }).trim();
    loops.push(loop);
    return loop;
  }

  /** Has `held` open for writing meanwhile, and then for reading. */
  async function closes(held: string, other: string): Promise<void> {
    const line = `${other}: already in use as ${held} (by a mount or another tool)`;
    const writer = await openNode(held, { writable: true });
    await expect(openNode(other, { writable: true })).rejects.toMatchObject({ operation: "lock", code: "EBUSY" });
    await expect(openNode(other, { writable: true })).rejects.toThrow(line);
    await expect(openNode(other, { writable: false })).rejects.toThrow(line);
    await writer.close();
    const reader = await openNode(held, { writable: false });
    await expect(openNode(other, { writable: true })).rejects.toThrow(line);
    await (await openNode(other, { writable: false })).close();
    await reader.close();
    await (await openNode(other, { writable: true })).close();
  }

  it("are no hindrance to one another where they are different stretches of it, opened at once", async () => {
    const [first, second] = [attach(image, "--sizelimit", `${4 * MIB}`), attach(image, "--offset", `${4 * MIB}`)];
    for (let round = 0; round < 10; round++) {
      const nodes = await Promise.all([first, second].map((path) => openNode(path, { writable: true })));
      await Promise.all(nodes.map((node) => node.close()));
    }
  });

  it("is closed by any of them, and free again", async () => {
    const loop = attach(image);
    await closes(image, loop);
    await closes(loop, image);
  });

  it("is found through loop devices on loop devices", async () => {
    const inner = attach(attach(image));
    await closes(image, inner);
    await closes(inner, image);
  });

  it("is found by another link of the file, also by those who ask what the system uses", async () => {
    const link = join(folder, "link.img");
    linkSync(image, link);
    const loop = attach(link);
    const writer = await openNode(loop, { writable: true });
    await expect(openNode(image, { writable: true })).rejects.toThrow(`already in use as ${loop} `);
    await writer.close();
    expect(await usedBySystem(image, statSync(image))).toBe(`attached to ${loop}`);
  });

  it("is only where the same bytes are", async () => {
    const [first, second, middle] = [
      attach(image, "--sizelimit", String(4 * MIB)),
      attach(image, "--offset", String(4 * MIB)),
      attach(image, "--offset", String(2 * MIB), "--sizelimit", String(4 * MIB)),
    ] as const;
    const writers = [await openNode(first, { writable: true }), await openNode(second, { writable: true })];
    await expect(openNode(middle, { writable: true })).rejects.toThrow("already in use as ");
    await expect(openNode(image, { writable: true })).rejects.toThrow("already in use as ");
    await Promise.all(writers.map((writer) => writer.close()));
    await closes(middle, second);
  });

  it("is none with a file that holds the same", async () => {
    const clone = join(folder, "clone.img");
    copyFileSync(image, clone);
    const writer = await openNode(attach(image), { writable: true });
    await (await openNode(clone, { writable: true })).close();
    await writer.close();
  });
});
