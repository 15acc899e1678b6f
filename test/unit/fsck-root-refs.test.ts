// Blockrefs of the root itself that break the rules: -y puts them right like any others, and nothing is lost by it. Where nothing says
// any more where the PFS is, that is told, and nothing is written.

import { beforeAll, expect, test } from "vitest";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { ImageEditor } from "../../fixtures/corrupt/image-editor.ts";
import { memoryCopies, memoryDevices } from "../../fixtures/corrupt/memory-copies.ts";
import { type FsckOutcome, fsckVolume } from "../../fsck/fsck.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import {
  BLOCKREF_BYTES,
  RefFlag,
  RefType,
  setRefFlags,
  setRefHead,
  setRefModifyTid,
  setRefPointer,
} from "../../src/format/blockref.ts";
import { CheckType } from "../../src/format/check.ts";
import { ROOT_SUPER_OFFSET, rootFreemapOffset, rootSequence } from "../../src/format/root-block.ts";
import { MountedComparison } from "../model/mounted-answers.ts";

const clock = new SimulatedClock();
const good = buildGoodImage();
const PFS_AT = ROOT_SUPER_OFFSET;
const FREEMAP_AT = rootFreemapOffset(0);
let comparison: MountedComparison;
beforeAll(async () => {
  comparison = await MountedComparison.with(good, clock);
});

type Spoil = (view: DataView, bytes: Uint8Array) => void;

function spoiled(spoil: Spoil): ImageEditor {
  const image = new ImageEditor(good);
  spoil(image.root.view, image.root.bytes);
  image.save(image.root);
  return image;
}

function fsck(image: ImageEditor, repair?: "safe" | "full"): Promise<FsckOutcome> {
  const target = { copies: memoryCopies(image, false), devices: memoryDevices(image) };
  return fsckVolume(target, { force: true, clock, ...(repair && { repair }) });
}

const told = ({ left, failures }: FsckOutcome): string =>
  [...left, ...failures].map(({ message }) => message).join("\n");

const MENDED: readonly (readonly [string, Spoil])[] = [
  [
    "a gap",
    (_view, bytes) =>
      bytes
        .copyWithin(PFS_AT + BLOCKREF_BYTES, PFS_AT, PFS_AT + BLOCKREF_BYTES)
        .fill(0, PFS_AT, PFS_AT + BLOCKREF_BYTES),
  ],
  ["flags", (view) => setRefFlags(view, PFS_AT, RefFlag.NARROW)],
  ["transaction ids", (view) => setRefModifyTid(view, PFS_AT, 1000)],
  ["a pointer that leads nowhere", (view) => setRefPointer(view, PFS_AT, 0, 3)],
  ["a pointer to a copy that there is not", (view) => setRefPointer(view, PFS_AT, 5, 300)],
  ["a bitmap of another type", (view) => setRefHead(view, FREEMAP_AT, RefType.INODE, 0, 12, CheckType.XXH64)],
  ["a bitmap of another size", (view) => setRefHead(view, FREEMAP_AT, RefType.FREEMAP, 0, 13, CheckType.XXH64)],
  ["a bitmap that lies nowhere", (view) => setRefPointer(view, FREEMAP_AT, 0, 3)],
  ["flags of a bitmap", (view) => setRefFlags(view, FREEMAP_AT, RefFlag.NARROW)],
];

test.each(MENDED)("%s: -y mends it, and all is there", async (_title, spoil) => {
  const image = spoiled(spoil);
  const outcome = await fsck(image, "full");
  expect(outcome.failures, told(outcome)).toEqual([]);
  expect(outcome.exitCode, told(outcome)).toBe(1);
  expect((await fsck(image)).exitCode).toBe(0);
  const right = await comparison.rightOf(image);
  expect([...(await comparison.rightOf(good))].filter((request) => !right.has(request))).toEqual([]);
});

test("a bitmap is computed anew by -p, too", async () => {
  const image = spoiled((view) => setRefPointer(view, FREEMAP_AT, 0, 3));
  expect((await fsck(image, "safe")).exitCode).toBe(1);
  expect((await fsck(image)).exitCode).toBe(0);
});

test.each([
  ["its type", (view) => setRefHead(view, PFS_AT, RefType.INODE, 0, 11, CheckType.XXH64)],
  ["its level", (view) => setRefHead(view, PFS_AT, RefType.PFS, 3, 11, CheckType.XXH64)],
  ["its size", (view) => setRefHead(view, PFS_AT, RefType.PFS, 0, 12, CheckType.XXH64)],
] as readonly (readonly [string, Spoil])[])(
  "a PFS that can't be found for %s: that is said, and nothing written",
  async (_title, spoil) => {
    const image = spoiled(spoil);
    const outcome = await fsck(image, "full");
    expect(told(outcome)).toMatch(/super-root: .*nothing else says where the files are/);
    expect(outcome.exitCode).toBe(4);
    const sequence = rootSequence(image.root.view);
    expect(rootSequence(new ImageEditor(image).root.view)).toBe(sequence);
  },
);
