// Where data ends in files of many blocks: the work grows with the blocks and no faster, little is held for it, other
// requests are served meanwhile, and what changes in between gives no answer that was never true.

import { afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { FallocateMode, Seek } from "../../src/posix/requests.ts";
import { BlockStore } from "../../src/tree/store.ts";
import { servedDuring } from "../model/served-during.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { refusal } from "./errno.ts";

const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0 };
const SEED = 401;
const PAGE = 4096;
const WINDOW = 65536;
const PUNCH = FallocateMode.PUNCH_HOLE | FallocateMode.KEEP_SIZE;
const PAGES = 4096;
const SIZE = PAGES * PAGE;
/** Refs in a full leaf. */
const LEAF = 128;

/** A file of PAGES pages, each in a block of its own. */
let stored: PagedImage;
let ino: number;
/** With nothing of the file in memory. */
let made: SimulatedVolume;

beforeAll(async () => {
  const formatted = await SimulatedVolume.format(SEED, [48 * MIB]);
  ino = (await formatted.fs.makeNode(1, Buffer.from("file"), 0o100644, 0, 0, CALLER)).ino;
  for (const length of [WINDOW, PAGE]) {
    const data = new Uint8Array(length).fill(1);
    for (let at = 0; at < SIZE; at += WINDOW) await formatted.fs.write(ino, at, data, {});
    // A large block that is durable is cut for a small change.
    await formatted.volume.forceCommit();
  }
  await formatted.volume.close();
  stored = formatted.devices[0]!.image;
});

beforeEach(async () => {
  made = await SimulatedVolume.open(SEED, [stored.copy()]);
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** Blocks looked at, waits for blocks, and how many blocks one look held at most. */
function watch(): { steps: number; waits: number; heldBlocks: number } {
  const watched = { steps: 0, waits: 0, heldBlocks: 0 };
  const { load, want } = BlockStore.prototype;
  vi.spyOn(BlockStore.prototype, "want").mockImplementation(function (this: BlockStore, holder, at) {
    watched.steps++;
    return want.call(this, holder, at);
  });
  vi.spyOn(BlockStore.prototype, "load").mockImplementation(async function (this: BlockStore, pinned) {
    watched.waits++;
    await load.call(this, pinned);
    watched.heldBlocks = Math.max(watched.heldBlocks, pinned.length);
  });
  return watched;
}

it("takes steps in proportion to the blocks, in waits for many leaves at a time, and holds few", async () => {
  const watched = watch();
  expect(await made.fs.seek(ino, 0, Seek.HOLE)).toBe(SIZE);
  expect(watched.steps).toBeLessThan(4 * PAGES);
  expect(watched.waits).toBeLessThan(PAGES / LEAF / 2);
  expect(watched.heldBlocks).toBeLessThan((PAGES / LEAF) * 0.75);
});

it("serves other requests meanwhile, also when all is in memory", async () => {
  await made.fs.seek(ino, 0, Seek.HOLE);
  const found = made.fs.seek(ino, 0, Seek.HOLE);
  const served = await servedDuring(found, () => made.fs.getAttributes(ino));
  expect(await found).toBe(SIZE);
  expect(served).toBeGreaterThanOrEqual(PAGES / 1024 - 1);
});

it("answers at once where it is near and in memory", async () => {
  await made.fs.fallocate(ino, 100 * PAGE, PAGE, PUNCH);
  await made.fs.seek(ino, 0, Seek.HOLE);
  expect(made.fs.seek(ino, 0, Seek.HOLE)).toBe(100 * PAGE);
  expect(made.fs.seek(ino, 100 * PAGE, Seek.HOLE)).toBe(100 * PAGE);
  expect(made.fs.seek(ino, 100 * PAGE, Seek.DATA)).toBe(101 * PAGE);
});

it("finds a hole far behind, and the end of a file that ends inside a block", async () => {
  await made.fs.fallocate(ino, 3500 * PAGE, PAGE, PUNCH);
  expect(await made.fs.seek(ino, 7, Seek.HOLE)).toBe(3500 * PAGE);
  await made.fs.setAttributes(ino, { size: SIZE - 5 });
  expect(await made.fs.seek(ino, 3501 * PAGE, Seek.HOLE)).toBe(SIZE - 5);
});

it.each([
  ["above", 3000 * PAGE, String(3000 * PAGE)],
  ["among what was looked at already", 5, "5"],
  ["at where it began", 3, "ENXIO"],
])("ends with the file when that is cut %s", async (_where, size, wanted) => {
  await made.fs.seek(ino, 0, Seek.HOLE);
  let end = -1;
  const outcome = refusal(async () => {
    const found = made.fs.seek(ino, 3, Seek.HOLE);
    await made.fs.setAttributes(ino, { size });
    end = await found;
  });
  const answer = await outcome;
  expect(answer === "ok" ? String(end) : answer).toBe(wanted);
});
