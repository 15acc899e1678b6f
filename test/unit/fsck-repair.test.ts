// fsck -y on every corrupt fixture: what can be repaired is, and then nothing is left; what can't be stays as it was.
import { expect, test } from "vitest";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import type { VolumeImage } from "../../fixtures/corrupt/image-builder.ts";
import { memoryCopies, memoryDevices } from "../../fixtures/corrupt/memory-copies.ts";
import { recipeTitle } from "../../fixtures/corrupt/recipe.ts";
import { RECIPES, spoil } from "../../fixtures/generate-corrupt.ts";
import { ImageEditor } from "../../fixtures/corrupt/image-editor.ts";
import { checkVolume } from "../../fsck/check.ts";
import { fsckVolume } from "../../fsck/fsck.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { openVolume } from "../../src/volume/open.ts";
import { describeFileSystem } from "../model/digest.ts";

const good = buildGoodImage();
const clock = new SimulatedClock();

function fsck(volume: VolumeImage, repair: "safe" | "full" | undefined) {
  const copies = memoryCopies(volume, false);
  const options = { force: true, clock, ...(repair && { repair }) };
  return fsckVolume({ copies, devices: memoryDevices(volume) }, options);
}

async function contentOf(volume: VolumeImage): Promise<string[]> {
  const opened = await openVolume(memoryCopies(volume, false), { clock, commitMs: 0 });
  const lines = await describeFileSystem(new FileSystem(opened, clock));
  await opened.close();
  return lines;
}

/** Damage to blockrefs that is put right without anybody missing a byte. */
const LOSSLESS = [20, 28, 29, 30, 31, 32, 33, 35, 36, 37, 38, 39, 103, 174];

test.each(
  RECIPES.filter(({ number }) => LOSSLESS.includes(number)).map((recipe) => [recipeTitle(recipe), recipe] as const),
)("%s: nothing is lost by the repair", async (_title, recipe) => {
  const volume = spoil(good, recipe);
  expect((await fsck(volume, "full")).exitCode).toBe(1);
  expect(await contentOf(volume)).toEqual(await contentOf(new ImageEditor(good)));
});

test("a block whose ref can't be followed leaves a hole, and its file is named", async () => {
  const recipe = RECIPES.find(({ name }) => name === "unknown-check-code") as (typeof RECIPES)[number];
  const volume = spoil(good, recipe);
  const outcome = await fsck(volume, "full");
  expect(outcome.findings.filter(({ ino }) => ino === 3).map(({ name }) => name)).toContain("ref-methods");
  const opened = await openVolume(memoryCopies(volume, false), { clock, commitMs: 0 });
  const { pieces } = await new FileSystem(opened, clock).read(3, 0, 65_536);
  expect(pieces.every((piece) => piece.every((byte) => byte === 0))).toBe(true);
  await opened.close();
});

test("where the root directory is none any more, what was in it comes to lost+found", async () => {
  const recipe = RECIPES.find(({ name }) => name === "root-directory-is-a-file") as (typeof RECIPES)[number];
  const volume = spoil(good, recipe);
  expect((await fsck(volume, "full")).exitCode).toBe(1);
  const found = await contentOf(volume);
  const hashes = (lines: readonly string[]): string[] =>
    [...new Set(lines.flatMap((line) => / size [1-9]\d* [0-9a-f]{16}/.exec(line) ?? []))].sort();
  expect(hashes(found).length).toBeGreaterThan(0);
  expect(hashes(found)).toEqual(hashes(await contentOf(new ImageEditor(good))));
  expect(found.filter((line) => line.startsWith("/lost+found/#")).length).toBeGreaterThan(2);
});

test.each(RECIPES.map((recipe) => [recipeTitle(recipe), recipe] as const))("%s", async (_title, recipe) => {
  const volume = spoil(good, recipe);
  const outcome = await fsck(volume, "full");
  const left = (await checkVolume(memoryCopies(volume))).filter(({ severity }) => severity !== "note");
  const told = [...left, ...outcome.failures].map(({ message }) => message).join("\n");
  if (recipe.repaired) {
    expect(left, told).toEqual([]);
    expect(outcome.exitCode, told).toBe(1);
    const again = await fsck(volume, undefined);
    expect(again.exitCode, again.findings.map(({ message }) => message).join("\n")).toBe(0);
  } else {
    expect(outcome.exitCode & 4, told).toBe(4);
  }
});
