// Several blockrefs name one place, as after a place was given out twice: fsck -y keeps the block for whom it is, whichever blockref is
// met first, and takes nothing from anybody that a mount could read before. What is wrong with that place stays wrong for the others.

import { beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { type EditedRef, ImageEditor } from "../../fixtures/corrupt/image-editor.ts";
import { memoryCopies, memoryDevices } from "../../fixtures/corrupt/memory-copies.ts";
import { checkVolume } from "../../fsck/check.ts";
import { type FsckOutcome, fsckVolume } from "../../fsck/fsck.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import {
  BLOCKREF_BYTES,
  REF_CHECK_OFFSET,
  refKey,
  refPointer,
  setRefKey,
  setRefPointer,
} from "../../src/format/blockref.ts";
import { CHECK_BYTES_MAX } from "../../src/format/check.ts";
import { INODE_XATTRS_OFFSET } from "../../src/format/inode.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { openVolume } from "../../src/volume/open.ts";
import { MountedComparison } from "../model/mounted-answers.ts";

const clock = new SimulatedClock();
const WINDOW = 65_536;
const [INLINE, BLOCKS, SPARSE] = [2, 3, 7];
const BOTH = [0, 1];

let image: ImageEditor;
let comparison: MountedComparison;
beforeAll(async () => {
  comparison = await MountedComparison.with(buildGoodImage(), clock);
});
beforeEach(() => {
  image = new ImageEditor(buildGoodImage());
});

const window = (index: number): EditedRef => image.dataRef(SPARSE, index * WINDOW);

/** Lets a ref name the place of another on these copies, and keeps its check code. */
function point(ref: EditedRef, to: EditedRef, copies: readonly number[] = BOTH): void {
  for (const copy of copies) setRefPointer(ref.block.view, ref.at, copy, refPointer(to.block.view, to.at, copy));
  image.save(ref.block);
}

/** Lets a ref name the block of another: its place and its check code. */
function nameAlike(ref: EditedRef, other: EditedRef): void {
  const check = other.block.bytes.slice(other.at + REF_CHECK_OFFSET, other.at + REF_CHECK_OFFSET + CHECK_BYTES_MAX);
  ref.block.bytes.set(check, ref.at + REF_CHECK_OFFSET);
  point(ref, other);
}

function fsck(repair?: "safe" | "full"): Promise<FsckOutcome> {
  const target = { copies: memoryCopies(image, false), devices: memoryDevices(image) };
  return fsckVolume(target, { force: true, clock, ...(repair && { repair }) });
}

const told = ({ left, failures }: FsckOutcome): string =>
  [...left, ...failures].map(({ message }) => message).join("\n");

/** Repairs the image: what a mount could read before it can read afterwards, and of these requests all. */
async function repairKeeping(...requests: readonly string[]): Promise<FsckOutcome> {
  const before = await comparison.rightOf(image);
  for (const request of requests) expect(before).toContain(request);
  const outcome = await fsck("full");
  expect(outcome.failures, told(outcome)).toEqual([]);
  const after = await comparison.rightOf(image);
  expect(
    [...before].filter((request) => !after.has(request)),
    told(outcome),
  ).toEqual([]);
  await expectSettled(outcome);
  return outcome;
}

async function read(ino: number, offset: number, length: number): Promise<string> {
  const opened = await openVolume(memoryCopies(image), { clock, commitMs: 0, readOnly: true });
  try {
    const { pieces } = await new FileSystem(opened, clock).read(ino, offset, length);
    return Buffer.concat(pieces).toString("hex");
  } catch (error) {
    return (error as { code: string }).code;
  } finally {
    await opened.close();
  }
}

const readWindow = (index: number): Promise<string> => read(SPARSE, index * WINDOW, 1024);

/** What -y leaves is as it says, a second one finds nothing else to do, and every place that is named is in use. */
async function expectSettled({ left, exitCode }: FsckOutcome): Promise<void> {
  const again = await fsck("full");
  const before = left.filter(({ severity }) => severity !== "note").map(({ message }) => message);
  expect(again.findings.filter(({ severity }) => severity !== "note").map(({ message }) => message)).toEqual(before);
  expect(again.exitCode).toBe(exitCode & 4);
}

describe.each([
  ["both copies", BOTH],
  ["the first copy", [0]],
  ["the second copy", [1]],
] as const)("a stale ref to a place on %s that another block has by now", (_title, copies) => {
  it.each([
    ["before", 0, 2],
    ["after", 2, 0],
  ] as const)("is met %s the right one: that one keeps its block", async (_order, stale, right) => {
    const sound = [await readWindow(0), await readWindow(2)];
    point(window(stale), window(right), copies);
    expect(await readWindow(right)).toBe(sound[right / 2]);
    const staleBefore = await readWindow(stale);
    const outcome = await fsck("full");
    expect(outcome.failures, told(outcome)).toEqual([]);
    expect(await readWindow(right)).toBe(sound[right / 2]);
    // On the other copy it still has its own.
    if (copies.length === 1) expect(await readWindow(stale)).toBe(sound[stale / 2]);
    else expect(staleBefore).toBe("EIO");
    await expectSettled(outcome);
  });
});

it("the stale one met first stays lost, and is not taken for a hole", async () => {
  point(window(0), window(2));
  const outcome = await fsck("full");
  expect(outcome.left.map(({ name }) => name)).toEqual(["block-lost"]);
  expect(outcome.exitCode).toBe(5);
  expect(await readWindow(0)).toBe("EIO");
});

it.each([
  ["an inode", () => image.inodeRef(INLINE), () => image.inodeRef(BLOCKS), "/blocks read 1"],
  ["an inode with blocks of refs below", () => image.inodeRef(BLOCKS), () => image.inodeRef(SPARSE), "/sparse read 22"],
  ["a directory", () => image.inodeRef(BLOCKS), () => image.inodeRef(4), "/dir/sub lookup"],
  [
    "a block of refs",
    () => image.dataRef(SPARSE, 0, 1),
    () => image.dataRef(SPARSE, 16 * WINDOW, 1),
    "/sparse read 22",
  ],
  ["a block of refs to inodes", () => image.inodeRef(1, 1), () => image.inodeRef(9, 1), ""],
  ["an inode that a stale ref of data names", () => window(0), () => image.inodeRef(9), "/fifo attributes"],
] as const)("%s is kept for the right one, and all that is below it", async (_title, stale, right, request) => {
  point(stale(), right());
  await repairKeeping(...(request === "" ? [] : [request]));
});

it.each([
  ["an inode", () => image.inodeRef(INLINE), () => image.inodeRef(BLOCKS), "/blocks read 1"],
  ["a directory", () => image.inodeRef(INLINE), () => image.inodeRef(4), "/dir/sub lookup"],
  ["an inode met first", () => image.inodeRef(12), () => image.inodeRef(BLOCKS), "/blocks read 1"],
  ["an inode named as data", () => window(0), () => image.inodeRef(9), "/fifo attributes"],
  [
    "a block of refs",
    () => image.dataRef(SPARSE, 0, 1),
    () => image.dataRef(SPARSE, 16 * WINDOW, 1),
    "/sparse read 22",
  ],
] as const)(
  "%s is kept for the ref whose key it bears, where two have its check code",
  async (_title, other, right, request) => {
    nameAlike(other(), right());
    await repairKeeping(request);
  },
);

it("a block of refs is kept for the ref whose keys it bears, though one before it and others between have its check code", async () => {
  // Of the second block of refs the first ref gets a block of its own, in a place that the bitmaps call free.
  const right = image.dataRef(SPARSE, 16 * WINDOW, 1);
  const inode = right.block;
  const next = right.at + BLOCKREF_BYTES;
  inode.bytes.copyWithin(next, right.at, next);
  const rest = image.open({ block: inode, at: next });
  const only = rest.bytes.slice(0, BLOCKREF_BYTES);
  rest.bytes.copyWithin(0, BLOCKREF_BYTES);
  setRefKey(inode.view, next, refKey(rest.view, 0));
  image.save(rest);
  for (const copy of BOTH) setRefPointer(inode.view, right.at, copy, 900);
  const between = image.open({ block: inode, at: right.at });
  between.bytes.fill(0).set(only);
  image.save(between);
  nameAlike({ block: inode, at: right.at - BLOCKREF_BYTES }, { block: inode, at: next });
  await repairKeeping("/sparse read 16", "/sparse read 22");
});

it("two refs that a block fits both keep what could be read", async () => {
  nameAlike(window(2), window(0));
  nameAlike(window(4), window(0));
  const good = await readWindow(0);
  const outcome = await fsck("full");
  expect(outcome.exitCode, told(outcome)).toBe(1);
  for (const index of [0, 2, 4]) expect(await readWindow(index)).toBe(good);
  await expectSettled(outcome);
});

it("an attribute block that a stale ref of data names is kept", async () => {
  point(window(2), { block: image.inode(INLINE), at: INODE_XATTRS_OFFSET });
  await repairKeeping("/inline xattrs");
});

it("a bitmap that a stale ref of data names is kept", async () => {
  for (const { index } of image.copies) point(window(index * 2), image.freemapRef(index));
  await repairKeeping("/blocks read 1");
});

it("the PFS block that a stale ref of data names is kept", async () => {
  point(window(2), image.pfsRef());
  await repairKeeping("/blocks read 1");
});

test("-p writes nothing to a tree in which two refs name one place", async () => {
  point(window(0), window(2));
  const good = await readWindow(2);
  expect((await fsck("safe")).exitCode & 4).toBe(4);
  expect(await readWindow(2)).toBe(good);
});

describe("a place that every ref of a file names", () => {
  /** How often its place on each copy is read by a check, and what that finds. */
  async function lookAt(copies: readonly number[]): Promise<{ reads: number[]; shared: number }> {
    for (let index = 0; index < 22; index += 2) point(window(index), window(22), copies);
    const place = BOTH.map((copy) => refPointer(window(22).block.view, window(22).at, copy));
    const reads = [0, 0];
    const set = memoryCopies(image);
    const { readBlocks } = set;
    set.readBlocks = (requests) => {
      for (const { pointers } of requests) {
        for (const copy of BOTH) if (pointers[copy] === place[copy]) reads[copy] = (reads[copy] as number) + 1;
      }
      return readBlocks.call(set, requests);
    };
    const found = await checkVolume(set);
    return { reads, shared: found.filter(({ name }) => name === "block-shared").length };
  }

  it("is read a few times, and no more", async () => {
    const { reads, shared } = await lookAt(BOTH);
    expect(reads).toEqual([4, 4]);
    expect(shared).toBe(22);
    const outcome = await fsck("full");
    expect(outcome.failures, told(outcome)).toEqual([]);
    await expectSettled(outcome);
  });

  it("on one copy costs nobody what the other copy has", async () => {
    const { reads, shared } = await lookAt([0]);
    // With that on the other copy, which is read once for each.
    expect(reads).toEqual([12, 1]);
    expect(shared).toBe(11);
    const outcome = await repairKeeping(...[0, 2, 20, 22].map((index) => `/sparse read ${index}`));
    expect(outcome.exitCode, told(outcome)).toBe(1);
  });
});

test("what stays in use because another ref names it comes free with that one", async () => {
  point(window(0), window(2));
  await fsck("full");
  const opened = await openVolume(memoryCopies(image, false), { clock, commitMs: 0 });
  const fs = new FileSystem(opened, clock);
  await fs.unlink(1, Buffer.from("sparse"), { uid: 0, gid: 0, pid: 1, umask: 0 });
  await fs.close();
  await opened.close();
  const outcome = await fsck();
  expect(outcome.exitCode, told(outcome)).toBe(0);
});
