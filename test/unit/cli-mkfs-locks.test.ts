// What mkfs does to targets that somebody else wants meanwhile: none changes before all are locked, and they stay locked (I11).

import { mkdtempSync, readFileSync, realpathSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { format } from "../../mkfs/format.ts";
import { type MkfsOptions, parseOptions } from "../../mkfs/options.ts";
import { planTargets } from "../../mkfs/plan.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { assemble } from "../../src/copies/assemble.ts";
import { openNode } from "../../src/device/open.ts";

const MIB = 1024 * 1024;
let folder: string;
let path: string;
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), "h2ts-mkfs-")));
  path = join(folder, "a.img");
  writeFileSync(path, "");
  truncateSync(path, 64 * MIB);
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const isLocked = (): boolean => readFileSync("/proc/locks", "utf8").includes(`:${statSync(path).ino} `);

/** What mkfs does with these words, once it has looked at everything. */
async function planned(...words: string[]): Promise<() => Promise<void>> {
  const options = parseOptions(words, "0") as MkfsOptions;
  const plan = await planTargets(options);
  const random = new SeededRandom(7);
  return () => format(options, plan, randomUuid(random), random);
}

it("an image that got something to hold after it was looked at is left alone, and so are all others", async () => {
  const other = join(folder, "b.img");
  writeFileSync(other, "");
  truncateSync(other, 64 * MIB);
  const late = await planned("-s", "80M", other, path, join(folder, "new.img"));
  await (await planned("-L", "theirs", path))();
  await expect(late()).rejects.toThrow(`${path}: holds an h2ts volume; use -f to overwrite it`);
  expect([path, other].map((image) => statSync(image).size)).toEqual([64 * MIB, 64 * MIB]);
  expect(statSync(join(folder, "new.img"), { throwIfNoEntry: false })).toBeUndefined();
  await (await assemble([path])).close();
});

it("from the moment that an image is locked to the end nobody else gets it, though its size changes", async () => {
  const made = await planned("-f", "-s", "80M", path);
  let isOver = false;
  let gotIn = false;
  const formatting = made().finally(() => (isOver = true));
  // Looked at only: whoever tried for the lock might be there first.
  while (!isLocked() && !isOver) await turn();
  expect(isOver).toBe(false);
  while (!isOver) {
    const got = await openNode(path, { writable: true }).catch(() => undefined);
    gotIn ||= got !== undefined && !isOver;
    await got?.close();
    await turn();
  }
  await formatting;
  expect({ gotIn, size: statSync(path).size }).toEqual({ gotIn: false, size: 80 * MIB });
});
