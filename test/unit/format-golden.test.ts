// The volume committed in fixtures/golden must stay readable, byte for byte, whatever changes in the code.

import { join } from "node:path";
import { expect, it } from "vitest";
import { checkVolume } from "../../fsck/check.ts";
import { imageBytes, readGoldenImages, readGoldenListing } from "../../fixtures/golden/golden-files.ts";
import { listFileSystem } from "../../fixtures/golden/golden-listing.ts";
import { goldenCopies, makeGolden, openGolden } from "../../fixtures/golden/golden-volume.ts";

const FOLDER = join(import.meta.dirname, "../../fixtures/golden");

it("opens, and everything in it is as it was", async () => {
  const fs = await openGolden(readGoldenImages(FOLDER));
  expect(await listFileSystem(fs)).toEqual(readGoldenListing(FOLDER));
});

it("opens from either copy alone being whole", async () => {
  for (const spoiled of [0, 1]) {
    const images = readGoldenImages(FOLDER);
    const image = images[spoiled];
    if (!image) throw new Error("no such device");
    // All between the rings of one copy is gone.
    image.write(320 * 1024, new Uint8Array(image.sizeBytes - 640 * 1024).fill(0xa5));
    expect(await listFileSystem(await openGolden(images))).toEqual(readGoldenListing(FOLDER));
  }
});

it("is sound on both copies, in every root", async () => {
  const findings = await checkVolume(await goldenCopies(readGoldenImages(FOLDER), true), { everyRoot: true });
  expect(findings).toEqual([]);
});

it("is made the same each time", async () => {
  const [first, second] = [await makeGolden(), await makeGolden()];
  for (const [i, image] of first.entries())
    expect(Buffer.compare(imageBytes(image), imageBytes(second[i] as typeof image))).toBe(0);
  expect(await listFileSystem(await openGolden(first))).toEqual(readGoldenListing(FOLDER));
});
