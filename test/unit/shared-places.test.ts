// Volumes on which two refs name one place (damaged or crafted): each ref gets the block that it names, or an error, whatever was
// read before. A place with a block in memory proves nothing for another ref to it.

import { beforeEach, describe, expect, it } from "vitest";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { type EditedRef, ImageEditor } from "../../fixtures/corrupt/image-editor.ts";
import { memoryCopies } from "../../fixtures/corrupt/memory-copies.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { REF_CHECK_OFFSET, refPointer, setRefPointer } from "../../src/format/blockref.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { CHECK_BYTES_MAX } from "../../src/format/check.ts";
import { Claim } from "../../src/freemap/freemap.ts";
import { dataRoot } from "../../src/ops/file-data.ts";
import { inodesRoot } from "../../src/ops/inodes.ts";
import type { Block } from "../../src/tree/block.ts";
import { MISS } from "../../src/tree/miss.ts";
import { type Position, treeFind } from "../../src/tree/tree.ts";
import { openVolume } from "../../src/volume/open.ts";
import type { Volume } from "../../src/volume/volume.ts";
import { refusal } from "./errno.ts";

const KIB = 1024;
const WINDOW = 64 * KIB;
/** A file with blocks of 1 KiB in windows 0, 2, 4, … */
const SPARSE = 7;
const INLINE = 2;
const FILE = 3;
const ROOT = 1;

let image: ImageEditor;
beforeEach(() => {
  image = new ImageEditor(buildGoodImage());
});

interface Opened {
  readonly fs: FileSystem;
  readonly volume: Volume;
}

async function open(readOnly = true): Promise<Opened> {
  const clock = new SimulatedClock();
  const volume = await openVolume(memoryCopies(image, readOnly), { clock, commitMs: 0, readOnly });
  return { volume, fs: new FileSystem(volume, clock) };
}

const window = (index: number): EditedRef => image.dataRef(SPARSE, index * WINDOW);

/** What is at the beginning of a window of the sparse file, on media. */
const onMedia = (index: number): string => Buffer.from(image.open(window(index)).bytes).toString("hex");

async function read({ fs }: Opened, index: number, sizeBytes = KIB): Promise<string> {
  const { pieces } = await fs.read(SPARSE, index * WINDOW, sizeBytes);
  return Buffer.concat(pieces.map((piece) => Buffer.from(piece))).toString("hex");
}

/** Lets a ref name the place of another on these copies, and keeps its check code. */
function point(ref: EditedRef, to: EditedRef, copies: readonly number[]): void {
  for (const copy of copies) setRefPointer(ref.block.view, ref.at, copy, refPointer(to.block.view, to.at, copy));
  image.save(ref.block);
}

/** Lets a ref name the block of another: its place and its check code. */
function nameAlike(ref: EditedRef, other: EditedRef): void {
  const check = other.block.bytes.slice(other.at + REF_CHECK_OFFSET, other.at + REF_CHECK_OFFSET + CHECK_BYTES_MAX);
  ref.block.bytes.set(check, ref.at + REF_CHECK_OFFSET);
  point(ref, other, [0, 1]);
}

describe("a stale ref to a place that another block has by now", () => {
  let good: string;
  beforeEach(() => {
    point(window(2), window(0), [0, 1]);
    good = onMedia(0);
  });

  it("is refused after the other block was read", async () => {
    const opened = await open();
    expect(await read(opened, 0)).toBe(good);
    expect(await refusal(() => read(opened, 2))).toBe("EIO");
    expect(await read(opened, 0)).toBe(good);
  });

  it("costs the other nothing when it is read first, or at once with it", async () => {
    const opened = await open();
    expect(await refusal(() => read(opened, 2))).toBe("EIO");
    expect(await read(opened, 0)).toBe(good);
    const again = await open();
    const both = await Promise.allSettled([read(again, 2), read(again, 0), read(again, 2)]);
    expect(both.map(({ status }) => status)).toEqual(["rejected", "fulfilled", "rejected"]);
    expect(again.volume.store.lostCount).toBe(1);
  });
});

describe("two refs to one place on one copy, each good on the other", () => {
  let good: string[];
  beforeEach(() => {
    good = [0, 2].map(onMedia);
    point(window(2), window(0), [0]);
  });

  it("both read right, one by one and in one request", async () => {
    expect(good[0]).not.toBe(good[1]);
    const opened = await open();
    for (const index of [0, 2, 0, 2]) expect(await read(opened, index)).toBe(good[index / 2]);
    const all = await read(await open(), 0, 2 * WINDOW + KIB);
    expect([all.slice(0, 2 * KIB), all.slice(-2 * KIB)]).toEqual(good);
  });

  it("one of them can be changed, and no buffer is lost by reading it", async () => {
    const opened = await open(false);
    for (const index of [0, 2]) expect(await read(opened, index)).toBe(good[index / 2]);
    const { pool } = opened.volume.store;
    const taken = pool.takenBytes;
    for (const index of [2, 0, 2]) expect(await read(opened, index)).toBe(good[index / 2]);
    expect(pool.takenBytes).toBe(taken);
    await opened.fs.write(SPARSE, 2 * WINDOW, new Uint8Array(10).fill(0xee), {});
    expect(await read(opened, 2)).toBe("ee".repeat(10) + (good[1] as string).slice(20));
    expect(await read(opened, 0)).toBe(good[0]);
  });
});

describe("a dirty block at a place that a stale ref names, too", () => {
  /** The ref of a window in the live tree; all above it is in memory. */
  const live = ({ volume }: Opened, index: number): Promise<Position> =>
    Promise.resolve(
      volume.view((state) => {
        const { store } = state;
        const inode = treeFind(store, inodesRoot(state.pfs()), SPARSE) as Position;
        return treeFind(store, dataRoot(store.block(inode.block, inode.at)), index * WINDOW) as Position;
      }),
    );
  const change = ({ fs }: Opened): Promise<number> =>
    Promise.resolve(fs.write(SPARSE, 0, new Uint8Array(10).fill(0xee), {}));

  it.each([[[2, 0]], [[0, 2]]])("is there after an operation is undone that let go of windows %j", async (order) => {
    // Where the change of window 0 will lie: the same in each run.
    const scout = await open(false);
    await change(scout);
    const there = await live(scout, 0);
    const stale = window(2);
    setRefPointer(stale.block.view, stale.at, 0, refPointer(there.block.view, there.at, 0));
    image.save(stale.block);

    const opened = await open(false);
    await change(opened);
    const { store } = opened.volume;
    const refs = new Map([
      [0, await live(opened, 0)],
      [2, await live(opened, 2)],
    ]);
    const [changed, aside] = [refs.get(0), refs.get(2)] as [Position, Position];
    const dirty = store.peek(changed.block, changed.at) as Block;
    const pinned: Block[] = [];
    while (store.want(aside.block, aside.at) === undefined) await store.load(pinned);
    expect(dirty.dirty).toBe(true);
    expect(store.peek(aside.block, aside.at)?.cacheKey).toBe(dirty.cacheKey);
    expect(() =>
      store.attempt(Claim.DELETING, () => {
        for (const index of order) {
          const { block, at } = refs.get(index) as Position;
          store.release(block, at);
        }
        throw MISS;
      }),
    ).toThrow();
    store.unpin(pinned);
    expect(store.peek(changed.block, changed.at)).toBe(dirty);
    expect((await read(opened, 0)).slice(0, 20)).toBe("ee".repeat(10));
    await opened.volume.forceCommit();
  });
});

it("a block verified as data is no inode", async () => {
  nameAlike(image.inodeRef(INLINE), window(0));
  const opened = await open();
  await read(opened, 0);
  expect(await refusal(() => opened.fs.getAttributes(INLINE))).toBe("EIO");
  expect(await refusal(() => opened.fs.listXattrs(INLINE))).toBe("EIO");
});

it("an inode is not another one", async () => {
  nameAlike(image.inodeRef(INLINE), image.inodeRef(FILE));
  const opened = await open();
  expect((await opened.fs.getAttributes(FILE)).ino).toBe(FILE);
  expect(await refusal(() => opened.fs.getAttributes(INLINE))).toBe("EIO");
});

it("a block of refs is not another one of the same tree", async () => {
  const [first, second] = [0, 16 * WINDOW].map((offset) => image.dataRef(SPARSE, offset, 1)) as [EditedRef, EditedRef];
  nameAlike(second, first);
  const opened = await open();
  await read(opened, 0);
  expect(await refusal(() => read(opened, 16))).toBe("EIO");
  expect(await read(opened, 0)).toBe(onMedia(0));
});

it("a directory with two inodes lost at one place is listed to its end", async () => {
  point(image.inodeRef(INLINE), image.inodeRef(FILE), [0, 1]);
  for (const copy of [0, 1]) image.garble(image.inodeRef(FILE), copy);
  const { fs } = await open();
  const unknown: number[] = [];
  await fs.readDirectory(
    ROOT,
    2,
    "all",
    () => (unknown.length = 0),
    ({ ino }, attributes) => attributes !== undefined || unknown.push(ino) > 0,
  );
  expect(unknown.sort()).toEqual([INLINE, FILE]);
});
