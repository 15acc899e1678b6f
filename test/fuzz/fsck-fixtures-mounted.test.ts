// Every corrupt fixture mounted as it is: reading and changing it gives errors at worst.
import { test } from "vitest";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { recipeTitle } from "../../fixtures/corrupt/recipe.ts";
import { RECIPES, spoil } from "../../fixtures/generate-corrupt.ts";
import { mountAndChange, mountAndRead } from "../model/mount-damaged.ts";

const good = buildGoodImage();

test.each(RECIPES.map((recipe) => [recipeTitle(recipe), recipe] as const))("%s", async (_title, recipe) => {
  await mountAndRead(spoil(good, recipe), new SimulatedClock());
  await mountAndChange(spoil(good, recipe), new SimulatedClock());
});
