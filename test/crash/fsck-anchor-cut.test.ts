// Power cuts while fsck puts a copy in order that joined with a root which did not reach it (I7): until another one has, its anchor
// is the only complete root there, and the operator may need it.

import { expect, it, vi } from "vitest";
import { fsckVolume } from "../../fsck/fsck.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import type { SimulatedDevice } from "../../src/device/simulated.ts";
import { rootInSync } from "../../src/format/root-block.ts";
import { openVolume } from "../../src/volume/open.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  copiesOf,
  devicesOver,
  formattedNodes,
  type Images,
  imagesOf,
  mount,
  unmount,
  worked,
} from "../sim/copies-scene.ts";

const SEED = 9400;
const SIZES = [20 * MIB, 20 * MIB];

/** Copy 1 was away and is caught up; a crash kept the root that says so from it. */
async function joinedElsewhere(): Promise<Images> {
  const { work, mounted: first } = await worked(SEED, await formattedNodes(SEED, SIZES), { steps: 10 });
  await takeOut(first.volume, first.caretaker, 1, { lasting: false });
  await work.run(first.fs, 10);
  await unmount(first);
  const mounted = await mount(SEED, imagesOf(first.devices), { start: false });
  const { rings, members } = mounted.volume;
  const write = rings.write.bind(rings);
  const joined = new Promise<void>((resolve) => {
    vi.spyOn(rings, "write").mockImplementation(async (image) => {
      if ((rootInSync(new DataView(image.buffer, image.byteOffset, image.length)) & 2) === 0) return write(image);
      vi.spyOn(mounted.devices[1] as SimulatedDevice, "write").mockResolvedValue();
      await write(image);
      resolve();
      return new Promise(() => undefined);
    });
  });
  // Until its whole ring is of the time when it was caught up.
  const joining = vi.spyOn(members, "joining").mockReturnValue([]);
  mounted.caretaker.start();
  for (let commits = 0; commits < 8; commits++) await mounted.volume.forceCommit();
  joining.mockRestore();
  mounted.volume.forceCommit().catch(() => undefined);
  await joined;
  return imagesOf(mounted.devices);
}

it("the copy by itself holds a complete root at any moment", async () => {
  const images = await joinedElsewhere();
  const disk = new SimulatedDisk();
  const devices = devicesOver(images, disk) as SimulatedDevice[];
  const clock = new SimulatedClock();
  const target = { copies: await copiesOf(SEED, devices), devices };
  const outcome = await fsckVolume(target, { force: true, repair: "safe", clock });
  expect(outcome.findings.map(({ name }) => name)).toEqual(expect.arrayContaining(["anchor-slot", "root-behind"]));
  expect(outcome.left).toEqual([]);
  const point = new CrashPoint(disk, 1);
  for (let cut = 0; cut <= disk.events.length; cut++) {
    point.advanceTo(cut);
    for (const survivors of [[], point.pending.map((event) => ({ event }))]) {
      const alone = devicesOver([undefined, point.image(survivors)]);
      const copies = await copiesOf(SEED, alone);
      await expect(openVolume(copies, { clock, commitMs: 0, forcedMaster: 1 }), `cut ${cut}`).resolves.toBeDefined();
    }
  }
});
