// Image files that can't be made: which file it was is said, and nothing is left behind.

import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { OpenError } from "../../src/device/open-error.ts";
import { createImage } from "../../src/device/image-file.ts";
import { openNode } from "../../src/device/open.ts";

/** No file has it. */
const TOO_LARGE = 2 ** 60;

it("an image is made and sized; one that can't be is named, and gone", async () => {
  const folder = mkdtempSync(join(tmpdir(), "h2ts-image-"));
  const path = join(folder, "a.img");
  try {
    expect(() => createImage(path, TOO_LARGE)).toThrow(OpenError);
    expect(() => createImage(path, TOO_LARGE)).toThrow(`${path}: `);
    expect(existsSync(path)).toBe(false);
    createImage(path, 4096);
    const image = await openNode(path, { writable: true });
    await image.resize(8192);
    expect(image.sizeBytes).toBe(8192);
    expect(statSync(path)).toMatchObject({ size: 8192, blocks: 0 });
    await expect(image.resize(TOO_LARGE)).rejects.toThrow(`${path}: `);
    await image.close();
    writeFileSync(path, "kept");
    expect(() => createImage(path, 4096)).toThrow(`${path}: exists already`);
    expect(statSync(path).size).toBe(4);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
