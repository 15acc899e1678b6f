import { expect, test } from "vitest";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { memoryCopies } from "../../fixtures/corrupt/memory-copies.ts";
import { checkVolume } from "../../fsck/check.ts";

test("a sound volume has nothing but the file that is to be released", async () => {
  const findings = await checkVolume(memoryCopies(buildGoodImage()), { everyRoot: true });
  expect(findings.map((finding) => finding.message)).toEqual(["inode 11: unlinked, its space is still to be released"]);
});
