// Power cuts while fsck -y repairs a volume on bitmaps that it computed (I3): what an older root of the ring names is not written over
// before that root is gone from the ring.

import { expect, it } from "vitest";
import { fsckVolume } from "../../fsck/fsck.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import type { SimulatedDevice } from "../../src/device/simulated.ts";
import { Claim } from "../../src/freemap/freemap.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  copiesOf,
  devicesOver,
  findings,
  formattedNodes,
  type Images,
  imagesOf,
  unmount,
  worked,
} from "../sim/copies-scene.ts";
import { survivors } from "./power-cut.ts";

const SIZES = [20 * MIB, 20 * MIB];

/** The older roots of the ring name what the newest has freed, and that has a place in use that nothing names. */
async function leaky(seed: number): Promise<Images> {
  const { work, mounted } = await worked(seed, await formattedNodes(seed, SIZES), { steps: 2, maxBytes: 5000 });
  // In a volume with little in it a commit takes the places that were given up some commits before.
  for (let commit = 0; commit < 5; commit++) {
    await work.run(mounted.fs, 1);
    await mounted.volume.forceCommit();
  }
  await mounted.volume.maintain(({ store }) => store.freemaps[0]?.allocate(1, Claim.ORDINARY));
  await unmount(mounted);
  return imagesOf(mounted.devices);
}

it("no root that is left in a ring has lost anything", async () => {
  for (let seed = 9500; seed < 9512; seed++) {
    const images = await leaky(seed);
    const disk = new SimulatedDisk();
    const devices = devicesOver(images, disk) as SimulatedDevice[];
    const target = { copies: await copiesOf(seed, devices), devices };
    const outcome = await fsckVolume(target, { force: true, repair: "full", clock: new SimulatedClock() });
    expect(outcome.findings.map(({ name }) => name)).toContain("freemap-leaked");
    expect(outcome.left).toEqual([]);
    const random = new SeededRandom(seed);
    const points = devices.map((_, i) => new CrashPoint(disk, i));
    for (let cut = 0; cut <= disk.events.length; cut++) {
      for (const point of points) point.advanceTo(cut);
      const media = points.map((point) => point.image(survivors(point.pending, random)));
      const found = await findings(seed, media, { everyRoot: true, powerCuts: 1 });
      const serious = found.filter(({ name }) => name !== "freemap-leaked");
      expect(serious, `seed ${seed}, cut ${cut}`).toEqual([]);
    }
  }
});
