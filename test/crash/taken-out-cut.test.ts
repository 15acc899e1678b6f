// A copy that could not be brought back is taken out for good: nothing was written to it since it left, so nothing that is
// committed changes in place, and a power cut at any write leaves the copies in use as they were before or after (I1, I4).

import { expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB } from "../model/simulated-volume.ts";
import { findings, formattedNodes, imagesOf, mount, unmount, worked } from "../sim/copies-scene.ts";
import { survivors } from "./power-cut.ts";

const OUT = 1;

it("a power cut while a copy whose return failed is taken out harms nothing that is committed", async () => {
  const seed = 41;
  const images = await formattedNodes(seed, [20 * MIB, 18 * MIB]);
  const { work, mounted: first } = await worked(seed, images, { steps: 15 });
  await unmount(first);
  const disk = new SimulatedDisk();
  const mounted = await mount(seed, imagesOf(first.devices), { disk });
  const { volume, caretaker, copies, devices } = mounted;
  // All of the tree is in memory, with pointers to both copies.
  await describeFileSystem(mounted.fs);
  await takeOut(volume, caretaker, OUT, { lasting: false });
  const { name, sizeBytes, image } = devices[OUT]!;
  const broken = new SimulatedDevice(name, sizeBytes, { image });
  broken.fail({ operation: "write", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
  Object.assign(copies, { open: () => Promise.resolve(broken) });
  await expect(bringBack(volume, caretaker, OUT)).rejects.toThrow(/EIO/);
  expect(copies.copy(OUT)!.standing).toBe("faulted");
  const firstEvent = disk.events.length;
  await takeOut(volume, caretaker, OUT, { lasting: true });
  await unmount(mounted);
  const tree = await work.tree();
  const random = new SeededRandom(seed);
  const point = new CrashPoint(disk, 0);
  for (let cut = firstEvent; cut <= disk.events.length; cut++) {
    point.advanceTo(cut);
    for (let choice = 0; choice < 2; choice++) {
      const left = [point.image(survivors(point.pending, random)), undefined];
      const what = `cut ${cut} of ${disk.events.length}`;
      const after = await mount(seed, left);
      expect((await describeFileSystem(after.fs)).join("\n"), what).toBe(tree);
      await unmount(after);
      expect(await findings(seed, imagesOf(after.devices)), what).toEqual([]);
    }
  }
});
