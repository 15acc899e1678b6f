// A copy fails, the others go on, it returns and is caught up (I1, I2, I5–I8): every n-th write and flush of each copy, two
// and three copies; afterwards everything is in sync, the checker finds nothing, and each copy alone holds everything.

import { describe, expect, it } from "vitest";
import { bitCount } from "../../src/copies/membership.ts";
import { MIB } from "../model/simulated-volume.ts";
import { findings, formatted, imagesOf, mount, togetherAgain, treeOf, unmount, worked } from "./copies-scene.ts";

const SIZES = [24 * MIB, 20 * MIB, 28 * MIB];

async function loseAndReturn(
  seed: number,
  copyCount: number,
  copy: number,
  operation: "write" | "flush",
  nth: number,
): Promise<boolean> {
  const fresh = await formatted(seed, SIZES.slice(0, copyCount));
  const { work, mounted: first } = await worked(seed, fresh, { steps: 12, maxBytes: 300_000 });
  let mounted = first;
  mounted.devices[copy]!.fail({ operation, nth, permanent: true, effect: { kind: "error", code: "EIO" } });
  await work.run(mounted.fs, 25);
  await unmount(mounted);
  const lost = mounted.copies.copy(copy)!.standing === "faulted";
  expect(bitCount(mounted.volume.members.inSync)).toBe(lost ? copyCount - 1 : copyCount);
  const images = imagesOf(mounted.devices);
  const tree = await work.tree();
  const without = images.map((image, i) => (lost && i === copy ? undefined : image));
  expect(await findings(seed, without, { everyRoot: true })).toEqual([]);
  expect(await treeOf(seed, without)).toBe(tree);

  expect(await findings(seed, images, { everyRoot: true })).toEqual([]);
  mounted = await mount(seed, images);
  await work.run(mounted.fs, 10);
  await mounted.caretaker.settled();
  await work.run(mounted.fs, 5);
  await unmount(mounted);
  expect(mounted.notes.filter((note) => note.includes("joined")).length).toBe(lost ? 1 : 0);
  await togetherAgain(seed, mounted, work);
  return lost;
}

describe("a copy that fails", () => {
  for (const copyCount of [2, 3]) {
    for (const operation of ["write", "flush"] as const) {
      it(`at any ${operation}, of ${copyCount} copies, is dropped, returns and holds everything again`, async () => {
        for (let copy = 0; copy < copyCount; copy++) {
          for (let nth = 1; nth < 400; nth += nth < 12 ? 1 : 7) {
            const seed = 1000 * copyCount + 100 * copy + nth;
            const lost = await loseAndReturn(seed, copyCount, copy, operation, nth).catch((error: unknown) => {
              throw new Error(`seed ${seed}, copy ${copy}, ${operation} ${nth}`, { cause: error });
            });
            if (!lost) break;
          }
        }
      });
    }
  }
});
