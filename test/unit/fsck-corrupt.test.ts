// Every corrupt fixture: the checker finds exactly what is wrong, and nothing it reads stops it.
import { expect, test } from "vitest";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { memoryCopies } from "../../fixtures/corrupt/memory-copies.ts";
import { recipeTitle } from "../../fixtures/corrupt/recipe.ts";
import { RECIPES, spoil } from "../../fixtures/generate-corrupt.ts";
import { checkVolume } from "../../fsck/check.ts";
import { FINDINGS, type FindingName } from "../../fsck/findings.ts";

const good = buildGoodImage();
/** Found outside the checker: headers when the devices are opened. */
const BY_ASSEMBLY: readonly FindingName[] = ["node-header"];

test.each(RECIPES.map((recipe) => [recipeTitle(recipe), recipe] as const))("%s", async (_title, recipe) => {
  const findings = await checkVolume(memoryCopies(spoil(good, recipe)));
  const expected = recipe.finds.filter((name) => !BY_ASSEMBLY.includes(name) && FINDINGS[name].severity !== "note");
  const found = findings.filter(({ severity }) => severity !== "note");
  expect(found.map(({ name }) => name).sort(), found.map(({ message }) => message).join("\n")).toEqual(
    [...expected].sort(),
  );
});

test("numbers are given out once", () => {
  expect(new Set(RECIPES.map(({ number }) => number)).size).toBe(RECIPES.length);
});
