// fsck -y on every corrupt fixture: what can be repaired is, and then nothing is left; what can't be stays as it was.
import { expect, test } from "vitest";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import type { VolumeImage } from "../../fixtures/corrupt/image-builder.ts";
import { memoryCopies, memoryDevices } from "../../fixtures/corrupt/memory-copies.ts";
import { recipeTitle } from "../../fixtures/corrupt/recipe.ts";
import { RECIPES, spoil } from "../../fixtures/generate-corrupt.ts";
import { checkVolume } from "../../fsck/check.ts";
import { fsckVolume } from "../../fsck/fsck.ts";

const good = buildGoodImage();
const clock = new SimulatedClock();

function fsck(volume: VolumeImage, repair: "safe" | "full" | undefined) {
  const copies = memoryCopies(volume, false);
  const options = { force: true, clock, ...(repair && { repair }) };
  return fsckVolume({ copies, devices: memoryDevices(volume) }, options);
}

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
