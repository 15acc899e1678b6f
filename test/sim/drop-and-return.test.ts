// A copy fails, the others go on, it returns and is caught up (I1, I2, I5–I8): the n-th write and flush of each copy, for every n
// until the work is done; two copies at the same work each time, three at other work for each n. Afterwards everything is in sync, the
// checker finds nothing, and each copy alone holds everything.

import { describe, expect, it } from "vitest";
import { bitCount } from "../../src/base/bits.ts";
import { MIB } from "../model/simulated-volume.ts";
import { findings, formatted, imagesOf, mount, togetherAgain, treeOf, unmount, worked } from "./copies-scene.ts";

/** Work while a copy fails, by how many there are: steps, and how often all so far is committed. */
const WORK = { 2: { commits: 4, steps: 3 }, 3: { commits: 1, steps: 25 } } as const;
const SIZES = [24 * MIB, 20 * MIB, 28 * MIB];

interface Case {
  readonly seed: number;
  readonly copyCount: keyof typeof WORK;
  readonly copy: number;
  readonly operation: "write" | "flush";
  readonly nth: number;
}

/** False when the copy was not written to, or flushed, so often. */
async function loseAndReturn({ seed, copyCount, copy, operation, nth }: Case): Promise<boolean> {
  const fresh = await formatted(seed, SIZES.slice(0, copyCount));
  const { work, mounted: first } = await worked(seed, fresh, { steps: 12, maxBytes: 300_000 });
  let mounted = first;
  mounted.devices[copy]!.fail({ operation, nth, permanent: true, effect: { kind: "error", code: "EIO" } });
  const { commits, steps } = WORK[copyCount];
  for (let commit = 0; commit < commits; commit++) {
    await work.run(mounted.fs, steps);
    await mounted.fs.sync();
  }
  await unmount(mounted);
  const lost = mounted.copies.copy(copy)!.standing === "faulted";
  expect(bitCount(mounted.volume.members.inSync)).toBe(lost ? copyCount - 1 : copyCount);
  const images = imagesOf(mounted.devices);
  const tree = await work.tree();
  const without = images.map((image, i) => (lost && i === copy ? undefined : image));
  // Older roots name little else: they are looked at now and then.
  const everyRoot = nth % 4 === 1;
  expect(await findings(seed, without, { everyRoot })).toEqual([]);
  expect(await treeOf(seed, without)).toBe(tree);

  expect(await findings(seed, images, { everyRoot })).toEqual([]);
  mounted = await mount(seed, images);
  await work.run(mounted.fs, 10);
  await mounted.caretaker.settled();
  await work.run(mounted.fs, 5);
  await unmount(mounted);
  expect(mounted.notes.filter((note) => note.includes("joined")).length).toBe(lost ? 1 : 0);
  await togetherAgain(seed, mounted, work, { everyRoot });
  return lost;
}

describe("a copy that fails", () => {
  for (const copyCount of [2, 3] as const) {
    for (const operation of ["write", "flush"] as const) {
      it(`at any ${operation}, of ${copyCount} copies, is dropped, returns and holds everything again`, async () => {
        for (let copy = 0; copy < copyCount; copy++) {
          let nth = 1;
          const next = (): Promise<boolean> => {
            const seed = 1000 * copyCount + 100 * copy + (copyCount === 2 ? 0 : nth);
            return loseAndReturn({ seed, copyCount, copy, operation, nth }).catch((error: unknown) => {
              throw new Error(`seed ${seed}, copy ${copy}, ${operation} ${nth}`, { cause: error });
            });
          };
          while (await next()) nth++;
          expect(nth).toBeGreaterThan(WORK[copyCount].commits);
        }
      });
    }
  }
});
