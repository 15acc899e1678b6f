// Copies that went different ways (I6): refused together, and joined again once the operator chose which to keep.

import { describe, expect, it } from "vitest";
import { historiesReport } from "../../src/cli/histories.ts";
import { readRings } from "../../src/copies/ring.ts";
import { resolveCopies } from "../../src/volume/resolve-copies.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  copiesOf,
  devicesOver,
  formatted,
  type Images,
  imagesOf,
  mount,
  settle,
  togetherAgain,
  unmount,
  worked,
} from "./copies-scene.ts";

const SIZES = [24 * MIB, 20 * MIB];

/** One copy went on, the other did not: nothing may be given up, least of all what only the first has. */
async function refusesBoth(seed: number, images: Images): Promise<void> {
  const devices = devicesOver(images);
  const copies = await copiesOf(seed, devices);
  for (const [keep, discard] of [
    [0, 1],
    [1, 0],
  ] as const) {
    await expect(resolveCopies(copies, keep, discard), `seed ${seed}`).rejects.toThrow(
      /one history.*nothing to resolve/,
    );
  }
  expect(devices.map((device) => device?.calls.write)).toEqual([0, 0]);
}

describe("resolving a split brain", () => {
  it("keeps one history and catches the other copy up to it", async () => {
    for (let seed = 950; seed < 956; seed++) {
      const keep = seed % 2;
      const discard = 1 - keep;
      const { work, mounted: first } = await worked(seed, await formatted(seed, SIZES), { steps: 20 });
      let mounted = first;
      await unmount(mounted);
      const common = mounted.volume.sequence;
      const images = [...imagesOf(mounted.devices)];
      // Both go on by themselves; the model goes with the one that will be kept.
      for (const alone of [keep, discard]) {
        mounted = await mount(
          seed,
          images.map((image, i) => (i === alone ? image : undefined)),
          { degraded: true },
        );
        if (alone === keep) await work.run(mounted.fs, 20);
        else await mounted.fs.setAttributes(1, { mode: 0o700 });
        await unmount(mounted);
        images[alone] = mounted.devices[alone]!.image;
        if (alone === keep) await refusesBoth(seed, images);
      }
      await expect(mount(seed, images), `seed ${seed}`).rejects.toThrow(/went another way.*h2ts resolve/);

      const devices = devicesOver(images);
      const copies = await copiesOf(seed, devices);
      const { parted } = historiesReport(await readRings(copies));
      expect(parted, `seed ${seed}`).toMatchObject([{ copies: [0, 1], root: common }]);
      await expect(resolveCopies(copies, keep, keep)).rejects.toThrow(/at once/);
      await expect(resolveCopies(copies, keep, 5)).rejects.toThrow(/not among the targets/);
      await resolveCopies(copies, keep, discard);
      await expect(resolveCopies(copies, discard, keep)).rejects.toThrow(/no complete state/);
      await expect(resolveCopies(copies, keep, discard)).rejects.toThrow(/nothing to resolve/);

      mounted = await mount(seed, imagesOf(devices));
      await work.run(mounted.fs, 5);
      await settle(mounted);
      await unmount(mounted);
      await togetherAgain(seed, mounted, work);
    }
  });
});
