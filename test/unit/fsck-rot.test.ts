// Garbage in any single block of either copy: found, repaired from the other copy, and -n changes nothing.
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { refPointer, setRefPointer } from "../../src/format/blockref.ts";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { allBlocks } from "../../fixtures/corrupt/image-blocks.ts";
import type { VolumeImage } from "../../fixtures/corrupt/image-builder.ts";
import { ImageEditor } from "../../fixtures/corrupt/image-editor.ts";
import { memoryCopies, memoryDevices } from "../../fixtures/corrupt/memory-copies.ts";
import { RECIPES, spoil } from "../../fixtures/generate-corrupt.ts";
import { checkVolume } from "../../fsck/check.ts";
import { isClean } from "../../fsck/finding-list.ts";
import { fsckVolume } from "../../fsck/fsck.ts";

const good = buildGoodImage();
const clock = new SimulatedClock();

function digest(volume: VolumeImage): string[] {
  return volume.copies.map(({ image }) => {
    const hash = createHash("sha1");
    const page = new Uint8Array(1 << 20);
    for (let at = 0; at < image.sizeBytes; at += page.length) {
      const part = page.subarray(0, Math.min(page.length, image.sizeBytes - at));
      image.read(at, part);
      hash.update(part);
    }
    return hash.digest("hex");
  });
}

test("a sound volume is equal on both copies, block for block, after one copy's block was garbage and -p", async () => {
  const count = allBlocks(new ImageEditor(good)).length;
  expect(count).toBeGreaterThan(30);
  // The root block itself is in the ring, and another test's business.
  for (let i = 1; i < count; i++) {
    for (const copy of [0, 1]) {
      const editor = new ImageEditor(good);
      const { holder, at } = allBlocks(editor)[i] as { holder: ImageEditor["root"] | undefined; at: number };
      if (holder === undefined) throw new Error("a block without a holder");
      editor.garble({ block: holder, at }, copy);
      const found = (await checkVolume(memoryCopies(editor))).filter(({ severity }) => severity !== "note");
      expect(
        found.map((finding) => [finding.name, finding.copy]),
        `block ${i}`,
      ).toEqual([["block-bad", copy]]);
      const target = { copies: memoryCopies(editor, false), devices: memoryDevices(editor) };
      const outcome = await fsckVolume(target, { force: true, clock, repair: "safe" });
      expect(outcome.exitCode, outcome.failures.map(({ message }) => message).join()).toBe(1);
      expect(isClean(await checkVolume(memoryCopies(editor)))).toBe(true);
    }
  }
});

test("without -p and -y nothing is changed", async () => {
  for (const recipe of RECIPES.slice(0, 40)) {
    const volume = spoil(good, recipe);
    const before = digest(volume);
    await fsckVolume({ copies: memoryCopies(volume, false), devices: memoryDevices(volume) }, { force: false, clock });
    await fsckVolume({ copies: memoryCopies(volume, false), devices: memoryDevices(volume) }, { force: true, clock });
    expect(digest(volume), recipe.name).toEqual(before);
  }
});

test("the light look is enough for a volume at rest, and not for one with something pending", async () => {
  const volume = new ImageEditor(good);
  const target = { copies: memoryCopies(volume, false), devices: memoryDevices(volume) };
  const first = await fsckVolume(target, { force: false, clock });
  expect(first.light).toBe(false);
  await fsckVolume(target, { force: true, clock, repair: "safe" });
  const second = await fsckVolume(target, { force: false, clock });
  expect([second.light, second.exitCode]).toEqual([true, 0]);
});

test("a cancelled check rejects", async () => {
  const target = { copies: memoryCopies(good), devices: memoryDevices(good) };
  await expect(fsckVolume(target, { force: true, clock, signal: AbortSignal.abort() })).rejects.toThrow();
});

test("a copy with more bad blocks than are listed is whole after the list and one more look (I5)", async () => {
  const editor = new ImageEditor(good);
  let spoiled = 0;
  // The deepest first: what leads to them is followed through the other copy.
  for (const { holder, at } of allBlocks(editor).reverse()) {
    if (holder === undefined) continue;
    editor.garble({ block: holder, at }, 1);
    spoiled++;
  }
  expect(spoiled).toBeGreaterThan(30);
  const copies = memoryCopies(editor, false);
  const outcome = await fsckVolume(
    { copies, devices: memoryDevices(editor) },
    { force: true, clock, repair: "safe", keptPerKind: 5 },
  );
  expect(outcome.findings.map(({ message }) => message)).toContain(`${spoiled - 5} more of H2F-010-block-bad`);
  expect(outcome).toMatchObject({ exitCode: 1, rounds: 1, failures: [] });
  expect(isClean(outcome.left)).toBe(true);
  expect(copies.copy(1)?.repaired).toBeGreaterThan(30);
  expect(isClean(await checkVolume(memoryCopies(editor)))).toBe(true);
});

test("a bad block on a place that another block has too is left alone on that copy, also while another copy is mended", async () => {
  // Of three copies: the block at 0 is garbage on copy 0, and lost its place on copy 2, which is asked first, to the one at 65536.
  const editor = new ImageEditor(buildGoodImage(1, [20_480, 24_576, 28_672]));
  const [lost, kept] = [editor.dataRef(3, 0), editor.dataRef(3, 65_536)];
  const content = editor.open(kept).bytes;
  setRefPointer(lost.block.view, lost.at, 2, refPointer(kept.block.view, kept.at, 2));
  editor.save(lost.block);
  editor.garble(lost, 0);
  const target = { copies: memoryCopies(editor, false), devices: memoryDevices(editor) };
  const outcome = await fsckVolume(target, { force: true, clock, repair: "safe" });
  expect(outcome.findings.filter(({ name }) => name === "block-bad").map(({ copy }) => copy)).toEqual([0, 2]);
  expect(outcome.left.filter(({ name }) => name === "block-bad").map(({ copy }) => copy)).toEqual([2]);
  const still = new Uint8Array(content.length);
  editor.copies[2]?.image.read(editor.offsetOf(kept, 2), still);
  expect(Buffer.compare(still, content)).toBe(0);
});
