// Where inodes without a name come to: /lost+found, whatever else has that name or theirs. What is there already is not touched.
import { expect, test } from "vitest";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { refPointer } from "../../src/format/blockref.ts";
import { KIB } from "../../src/format/geometry.ts";
import { inodesRoot } from "../../src/ops/inodes.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { treeFind } from "../../src/tree/tree.ts";
import { openVolume } from "../../src/volume/open.ts";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { COPY_START_BYTES } from "../../fixtures/corrupt/image-builder.ts";
import { ImageEditor } from "../../fixtures/corrupt/image-editor.ts";
import { memoryCopies, memoryDevices } from "../../fixtures/corrupt/memory-copies.ts";
import { checkVolume } from "../../fsck/check.ts";
import { fsckVolume } from "../../fsck/fsck.ts";
import { describeFileSystem } from "../model/digest.ts";

const clock = new SimulatedClock();
const good = buildGoodImage();
const caller = { uid: 0, gid: 0, pid: 1, umask: 0 };
const name = (text: string): Buffer => Buffer.from(text);

async function withVolume<T>(volume: ImageEditor, body: (fs: FileSystem) => Promise<T>): Promise<T> {
  const opened = await openVolume(memoryCopies(volume, false), { clock, commitMs: 0 });
  const fs = new FileSystem(opened, clock);
  try {
    return await body(fs);
  } finally {
    await fs.close();
    await opened.close();
  }
}

/** Directory 4 is lost on every copy, and directory 8 in it without a name: the lines of what is there after `-y --abandon`. */
async function afterLoss(prepare: (fs: FileSystem) => Promise<void>): Promise<string[]> {
  const volume = new ImageEditor(good);
  const lost = volume.inodeRef(4);
  await withVolume(volume, prepare);
  for (const copy of [0, 1]) volume.garble(lost, copy);
  const target = { copies: memoryCopies(volume, false), devices: memoryDevices(volume) };
  const outcome = await fsckVolume(target, { force: true, clock, repair: "full", abandon: true });
  const told = [...outcome.left, ...outcome.failures].map(({ message }) => message).join("\n");
  expect(outcome.exitCode, told).toBe(1);
  expect(await checkVolume(memoryCopies(volume))).toEqual([]);
  return withVolume(volume, (fs) => describeFileSystem(fs));
}

const linesOf = (lines: readonly string[], path: string): string[] =>
  lines.filter((line) => line.startsWith(`${path}/ `));

const OTHERS: readonly (readonly [string, (fs: FileSystem) => Promise<void>])[] = [
  [
    "a small file",
    async (fs) => {
      const { ino } = await fs.makeNode(1, name("lost+found"), 0o100644, 0, 0, caller);
      await fs.write(ino, 0, name("precious"), {});
    },
  ],
  [
    "a file of several blocks",
    async (fs) => {
      const { ino } = await fs.makeNode(1, name("lost+found"), 0o100644, 0, 0, caller);
      await fs.write(ino, 0, new Uint8Array(300_000).fill(9), {});
    },
  ],
  ["a symbolic link", async (fs) => void (await fs.makeSymlink(1, name("lost+found"), name("/etc"), caller))],
];

test.each(OTHERS)("%s called /lost+found stays what it is: there is another name", async (_, prepare) => {
  const volume = new ImageEditor(good);
  await withVolume(volume, prepare);
  const before = linesOf(await withVolume(volume, (fs) => describeFileSystem(fs)), "/lost+found");
  expect(before).toHaveLength(1);
  const after = await afterLoss(prepare);
  expect(linesOf(after, "/lost+found")).toEqual(before);
  expect(linesOf(after, "/lost+found.1/#8")).toHaveLength(1);
});

test("names that are taken in /lost+found are left to who has them", async () => {
  const after = await afterLoss(async (fs) => {
    const { ino } = await fs.makeDirectory(1, name("lost+found"), 0o700, caller);
    await fs.makeNode(ino, name("#8"), 0o100600, 0, 0, caller);
    await fs.makeDirectory(ino, name("#8.1"), 0o755, caller);
  });
  expect(linesOf(after, "/lost+found/#8")).toHaveLength(1);
  expect(linesOf(after, "/lost+found/#8.2")).toHaveLength(1);
});

test("more of them than eight lists hold come there in one run", async () => {
  const volume = new ImageEditor(good);
  const opened = await openVolume(memoryCopies(volume, false), { clock, commitMs: 0 });
  const fs = new FileSystem(opened, clock);
  for (let i = 0; i < 12; i++) await fs.makeNode(4, name(`file${i}`), 0o100644, 0, 0, caller);
  await fs.close();
  await opened.forceCommit();
  const pointers = await opened.view((state) => {
    const found = treeFind(state.store, inodesRoot(state.pfs()), 4);
    return [0, 1].map((copy) => (found === undefined ? 0 : refPointer(found.block.view, found.at, copy)));
  });
  await opened.close();
  for (const { index, image } of volume.copies)
    image.write(COPY_START_BYTES + (pointers[index] as number) * KIB, new Uint8Array(KIB).fill(0xa5));
  const target = { copies: memoryCopies(volume, false), devices: memoryDevices(volume) };
  const options = { force: true, clock, repair: "full", abandon: true, keptPerKind: 1 } as const;
  const outcome = await fsckVolume(target, options);
  const told = [...outcome.left, ...outcome.failures].map(({ message }) => message).join("\n");
  expect([outcome.exitCode, told]).toEqual([1, ""]);
  expect(outcome.rounds).toBeGreaterThan(8);
  expect(await checkVolume(memoryCopies(volume))).toEqual([]);
});
