// Reads that fail (I5, I9): the n-th read of a copy, for every n, once or from then on, of two and three copies, while a volume is
// mounted, read through and worked on. Nobody notices, nothing is lost, and no copy is dropped for a read that failed.

import { describe, expect, it } from "vitest";
import { describeFileSystem } from "../model/digest.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  copiesOf,
  devicesOver,
  findings,
  formatted,
  type Images,
  imagesOf,
  unmount,
  worked,
  mountOn,
  type Workload,
} from "./copies-scene.ts";

const SIZES = [24 * MIB, 20 * MIB, 28 * MIB];

async function filled(seed: number, copyCount: number): Promise<{ work: Workload; images: Images }> {
  const { work, mounted } = await worked(seed, await formatted(seed, SIZES.slice(0, copyCount)), {
    steps: 40,
    bulkBytes: MIB,
  });
  await unmount(mounted);
  return { work, images: imagesOf(mounted.devices) };
}

/** False when the copy was read less than `nth` times. */
async function readFails(
  seed: number,
  images: Images,
  tree: string,
  fault: { readonly copy: number; readonly nth: number; readonly permanent: boolean },
): Promise<boolean> {
  const devices = devicesOver(images);
  const failing = devices[fault.copy]!;
  const { nth, permanent } = fault;
  failing.fail({ operation: "read", nth, permanent, effect: { kind: "error", code: "EIO" } });
  // Its metadata is read from this copy first. Where its ring can't be read the operator goes on without it.
  const options = { master: fault.copy, degraded: true };
  const mounted = await mountOn(seed, devices, await copiesOf(seed, devices), options);
  expect((await describeFileSystem(mounted.fs)).join("\n")).toBe(tree);
  await mounted.caretaker.settled();
  await unmount(mounted);
  expect(mounted.volume.failed, mounted.notes.join("\n")).toBe(false);
  const left = imagesOf(devices).map((image, i) =>
    (mounted.volume.members.inSync & (1 << i)) === 0 ? undefined : image,
  );
  expect(left[fault.copy === 0 ? 1 : 0]).toBeDefined();
  const found = await findings(seed, left, { everyRoot: true });
  expect(found.filter(({ name }) => name !== "copy-absent")).toEqual([]);
  return failing.calls.read >= nth;
}

describe("the n-th read that fails", () => {
  for (const copyCount of [2, 3]) {
    for (const permanent of [false, true]) {
      it(`${permanent ? "and all after it" : "alone"}, of ${copyCount} copies, is noticed by nobody`, async () => {
        for (let copy = 0; copy < copyCount; copy++) {
          const seed = 2700 + 10 * copyCount + copy;
          const { work, images } = await filled(seed, copyCount);
          const tree = await work.tree();
          let nth = 1;
          while (
            await readFails(seed, images, tree, { copy, nth, permanent }).catch((error: unknown) => {
              throw new Error(`seed ${seed}, copy ${copy}, read ${nth}`, { cause: error });
            })
          )
            nth++;
          expect(nth).toBeGreaterThan(12);
        }
      });
    }
  }
});
