// What a new user would try before trusting the filesystem with anything, in real amounts, on two copies of unequal size:
// `npm run acceptance`. Takes half an hour and some 15 GB under the temporary folder; leaves nothing behind.

import { createHash } from "node:crypto";
import { closeSync, existsSync, mkdirSync, openSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import type { VolumeReport } from "../../src/daemon/volume-report.ts";
import { mountsImpossible } from "../mount/cli-place.ts";
import { describeTree, expectSameTree, hashOf, run } from "../mount/data-programs.ts";
import { decorate, spoil } from "../mount/data-scenery.ts";
import { copyProject, fioVerify, gitAtWork, manyNames, rsyncTwice, sqliteRows } from "../mount/data-workloads.ts";
import { MountedVolume } from "../mount/posix-mounted.ts";
import { sys } from "../mount/posix-system.ts";

const SIZE = { firstMib: 12 * 1024, secondMib: 16 * 1024 };
const GUARD_SECONDS = 3600;
/** Taken in turn until there are enough files. */
const TREES = ["/usr/include", "/usr/share", resolve(import.meta.dirname, "../../node_modules"), "/usr/lib"];
const FILES_MIN = 20_000;
const SQLITE_ROWS = 200_000;
const FIO_MIB = 512;
const NAMES = 100_000;
const LARGE_BYTES = 4 * 2 ** 30;
const PIECE_BYTES = 2 ** 20;
const SEED = 11;

let volume: MountedVolume;
/** All that is on the volume, as it was when it was written. */
let kept: Map<string, string>;

beforeAll(async () => {
  expect(mountsImpossible()).toBe(undefined);
  volume = await MountedVolume.create("kernel", SIZE, GUARD_SECONDS);
});
afterAll(() => volume?.destroy());

it(`rsync -aHAX of at least ${FILES_MIN} files keeps every attribute`, async () => {
  const odd = `${volume.place.folder}/source`;
  sys.mkdir(odd);
  decorate(odd);
  let files = 0;
  for (const source of [odd, ...TREES.filter((path) => existsSync(path))]) {
    if (files >= FILES_MIN) break;
    const target = `${volume.directory}/rsync${source.replaceAll("/", "-")}`;
    await rsyncTwice(source, target);
    const expected = describeTree(source);
    expectSameTree(describeTree(target), expected);
    volume.dropCaches();
    expectSameTree(describeTree(target), expected);
    files += expected.size;
  }
  expect(files).toBeGreaterThanOrEqual(FILES_MIN);
});

it("git clones, checks out, commits, packs and finds nothing wrong", async () => {
  await gitAtWork(`${volume.place.folder}/origin`, `${volume.directory}/clone`);
});

it("npm ci of this project, and its type check", async () => {
  const project = `${volume.directory}/project`;
  await copyProject(project);
  await run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], project);
  await run("npm", ["run", "check"], project);
});

it.each(["WAL", "DELETE"] as const)(`SQLite keeps ${SQLITE_ROWS} rows (%s)`, async (journal) => {
  await sqliteRows(`${volume.directory}/${journal}.db`, journal, SQLITE_ROWS);
});

it.each(["psync", "mmap", "libaio"] as const)(`fio verifies ${FIO_MIB} MiB written at random (%s)`, async (engine) => {
  await fioVerify(`${volume.directory}/fio-${engine}`, engine, FIO_MIB, volume.place.folder);
});

it(`a folder of ${NAMES} names is listed whole while they are deleted`, () => {
  const folder = `${volume.directory}/names`;
  mkdirSync(folder);
  manyNames(folder, NAMES);
});

it("a file of 4 GiB reads as it was written", () => {
  const path = `${volume.directory}/large`;
  const random = new SeededRandom(SEED);
  const hash = createHash("sha1");
  const fd = openSync(path, "w");
  for (let at = 0; at < LARGE_BYTES; at += PIECE_BYTES) {
    const piece = random.bytes(PIECE_BYTES);
    hash.update(piece);
    writeSync(fd, piece);
  }
  closeSync(fd);
  volume.dropCaches();
  expect(hashOf(Buffer.from(path))).toBe(hash.digest("hex"));
});

it("everything is there after unmount, a full check and mount", async () => {
  kept = describeTree(volume.directory);
  await volume.unmount();
  await volume.check();
  await volume.mount();
  expectSameTree(describeTree(volume.directory), kept);
});

it.each([0, 1])("everything reads right with garbage all over copy %d, which is repaired", async (spoiled) => {
  const before = (await volume.status()) as VolumeReport;
  await volume.unmount();
  spoil(volume.images[spoiled] as string, SEED + spoiled);
  await volume.mount();
  expectSameTree(describeTree(volume.directory), kept);
  const report = (await volume.status()) as VolumeReport;
  expect(report).toMatchObject({ state: "ONLINE", dataErrors: 0 });
  expect(report.copies[spoiled]?.errors.checksum).toBeGreaterThan(0);
  // Counters outlive a mount: those of the other copy may not be zero, but have not risen.
  expect(report.copies[1 - spoiled]?.errors).toEqual(before.copies[1 - spoiled]?.errors);
  await volume.unmount();
  // What a mount reads of one copy only is looked at by fsck, which repairs it.
  expect((await volume.place.run("fsck.h2ts", "-p", "-f", ...volume.images)).code).toBeLessThanOrEqual(1);
  await volume.check();
  await volume.mount();
});
