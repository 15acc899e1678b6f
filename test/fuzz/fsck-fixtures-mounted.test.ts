// Every corrupt fixture mounted as it is: what is wrong is refused and not followed, all else reads as in the sound image (I12);
// changing it gives errors at worst.
import { beforeAll, expect, test } from "vitest";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { recipeTitle } from "../../fixtures/corrupt/recipe.ts";
import { RECIPES, spoil } from "../../fixtures/generate-corrupt.ts";
import { mountAndChange } from "../model/mount-damaged.ts";
import { MountedComparison } from "../model/mounted-answers.ts";

const good = buildGoodImage();
let comparison: MountedComparison;
beforeAll(async () => {
  comparison = await MountedComparison.with(good, new SimulatedClock());
});

test("the sound image", async () => {
  expect(await comparison.of(good)).toBe("as before");
});

test.each(RECIPES.map((recipe) => [recipeTitle(recipe), recipe] as const))("%s", async (_title, recipe) => {
  expect(await comparison.of(spoil(good, recipe))).toEqual(recipe.mounted);
  await mountAndChange(spoil(good, recipe), new SimulatedClock());
});
