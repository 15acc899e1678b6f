// A copy rolled back by exactly the last commit has the same roots as one that missed only the last root write. The first is
// unknown, the second in sync (I1, I4, I6); a process killed before the first is caught up changes nothing of that.

import { describe, expect, it } from "vitest";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { KIB, RING_AREA_KIB } from "../../src/format/geometry.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  bulk,
  formatted,
  type Images,
  imagesOf,
  mount,
  settle,
  togetherAgain,
  unmount,
  worked,
  type Workload,
} from "./copies-scene.ts";

const SIZES = [24 * MIB, 20 * MIB, 28 * MIB];

interface Scene {
  readonly work: Workload;
  readonly images: Images;
  /** Copy 1 as it was one commit earlier. */
  readonly before: PagedImage;
}

/** A volume to which one commit more was made: a file of `bytes`. */
async function oneCommit(seed: number, copyCount: number, bytes: number): Promise<Scene> {
  const fresh = await formatted(seed, SIZES.slice(0, copyCount));
  const { work, mounted: first } = await worked(seed, fresh, { steps: 30, bulkBytes: 2 * MIB });
  await unmount(first);
  const before = first.devices[1]!.image;
  const mounted = await mount(seed, imagesOf(first.devices));
  const { sequence } = mounted.volume;
  await bulk(work, mounted.fs, "last", bytes);
  await unmount(mounted);
  expect(mounted.volume.sequence, `seed ${seed}`).toBe(sequence + 1);
  return { work, images: imagesOf(mounted.devices), before };
}

const rolledBack = ({ images, before }: Scene): Images => images.map((image, i) => (i === 1 ? before.fork() : image));

/** Copy 1 has all blocks of the last commit, and not its root. */
function withoutLastRoot({ images, before }: Scene): Images {
  const image = (images[1] as PagedImage).fork();
  const ring = new Uint8Array(RING_AREA_KIB * KIB);
  for (const at of [0, image.sizeBytes - ring.length]) {
    before.read(at, ring);
    image.write(at, ring);
  }
  return images.map((other, i) => (i === 1 ? image : other));
}

describe("a copy one root behind", () => {
  for (const bytes of [100, 5000, 3 * MIB]) {
    it(`because it was rolled back by a commit of ${bytes} bytes is unknown, and revalidated`, async () => {
      for (let seed = 800; seed < 808; seed++) {
        const scene = await oneCommit(seed, 3, bytes);
        let mounted = await mount(seed, rolledBack(scene), { start: false, stopAfterSteps: 1 + (seed % 3) });
        expect(mounted.copies.copy(1)!.standing, `seed ${seed}`).toBe("unknown");
        if (seed % 2 === 0) {
          // Killed before anything was done about it, or on the way.
          if (seed % 4 === 0) mounted.caretaker.start();
          await settle(mounted);
          await scene.work.run(mounted.fs, 5);
          await mounted.fs.sync();
        }
        mounted = await mount(seed, imagesOf(mounted.devices), { start: false });
        mounted.caretaker.start();
        await scene.work.run(mounted.fs, 5);
        await settle(mounted);
        await unmount(mounted);
        await togetherAgain(seed, mounted, scene.work);
      }
    });
  }

  it("is not counted on to know what was acknowledged: two copies need the operator's word", async () => {
    const scene = await oneCommit(820, 2, 5000);
    const images = rolledBack(scene);
    await expect(mount(820, images)).rejects.toThrow(
      /copy 1 \(copy1\) is older than it was when last seen.*-o degraded/,
    );
    const mounted = await mount(820, images, { degraded: true });
    await settle(mounted);
    await unmount(mounted);
    await togetherAgain(820, mounted, scene.work);
  });

  it("is unknown too when it comes back after the others have gone on", async () => {
    for (let seed = 830; seed < 834; seed++) {
      const scene = await oneCommit(seed, 3, 5000);
      let mounted = await mount(seed, [scene.images[0], undefined, scene.images[2]]);
      await scene.work.run(mounted.fs, 10);
      await unmount(mounted);
      const now = imagesOf(mounted.devices);
      mounted = await mount(seed, [now[0], scene.before.fork(), now[2]], { start: false });
      expect(mounted.copies.copy(1)!.standing, `seed ${seed}`).toBe("unknown");
      mounted.caretaker.start();
      await settle(mounted);
      await unmount(mounted);
      await togetherAgain(seed, mounted, scene.work);
    }
  });

  it("because it missed the last root write only is in sync, of any number of copies", async () => {
    for (const copyCount of [2, 3]) {
      for (let seed = 840; seed < 846; seed++) {
        const scene = await oneCommit(seed, copyCount, seed % 2 === 0 ? 100 : 3 * MIB);
        const mounted = await mount(seed, withoutLastRoot(scene));
        expect(mounted.copies.copy(1)!.standing, `seed ${seed}`).toBe("in-sync");
        expect(mounted.copies.copy(1)!.errors.checksum).toBe(0);
        await unmount(mounted);
        await togetherAgain(seed, mounted, scene.work);
      }
    }
  });
});
