// A copy that comes back with blocks of its own freemap rotten: what its last complete state has in use is found by what can be
// reached from its root, and stays untouched while the copy is caught up beside it (I7). Where a part of that can't be reached
// either, nothing on the copy is given out; the operator may give that state up.

import { expect, it } from "vitest";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { refPointer } from "../../src/format/blockref.ts";
import { KIB } from "../../src/format/geometry.ts";
import { PFS_INODES_OFFSET } from "../../src/format/pfs.ts";
import { rootFreemapOffset } from "../../src/format/root-block.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  bulk,
  eachAlone,
  findings,
  formatted,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  settle,
  togetherAgain,
  treeOf,
  unmount,
  worked,
  type Workload,
} from "./copies-scene.ts";

const AWAY = 1;

interface Scene {
  readonly work: Workload;
  /** The other copy, and copy AWAY as it was when that went on. */
  readonly images: Images;
  /** What copy AWAY has by itself. */
  readonly before: string;
}

function rotten(image: PagedImage, kib: number): PagedImage {
  const fork = image.fork();
  fork.write(kib * KIB, new Uint8Array(KIB).fill(0xee));
  return fork;
}

/**
 * The first block of the freemap that the last root of copy AWAY names has rotted, with `inodesToo` that of the inode index as
 * well: there, and where the other copy had them. Undefined where that copy has used their places again.
 */
async function rottenScene(seed: number, inodesToo: boolean): Promise<Scene | undefined> {
  const fresh = await formatted(seed, [64 * MIB, 56 * MIB]);
  const { work, mounted: first } = await worked(seed, fresh, { steps: 25, bulkBytes: 3 * MIB });
  await unmount(first);
  const together = imagesOf(first.devices);
  const before = await work.tree();
  const { rootImage, state } = first.volume;
  const placesOn = (copy: number): number[] => [
    refPointer(rootImage.view, rootFreemapOffset(AWAY), copy),
    ...(inodesToo ? [refPointer(state.pfs().view, PFS_INODES_OFFSET, copy)] : []),
  ];
  const rottenOn = (copy: number, image: PagedImage): PagedImage => placesOn(copy).reduce(rotten, image);
  const second = await mount(seed, [together[0], undefined], { degraded: true });
  await work.run(second.fs, 40);
  await bulk(work, second.fs, "more", 14 * MIB);
  await unmount(second);
  const images = [rottenOn(0, second.devices[0]!.image), rottenOn(AWAY, together[AWAY] as PagedImage)];
  const harmed = (await findings(seed, [images[0], undefined])).some(({ name }) => name === "block-lost");
  return harmed ? undefined : { work, images, before };
}

/** Copy AWAY alone still has what it had. */
async function isKept(seed: number, { devices }: Mounted, before: string): Promise<void> {
  const alone = [undefined, (devices[AWAY] as NonNullable<(typeof devices)[number]>).image.copy()];
  expect(await treeOf(seed, alone, { forcedMaster: AWAY }), `seed ${seed}`).toBe(before);
}

it("is caught up, and keeps its last complete state until then", async () => {
  let stops = 0;
  for (let seed = 1500; seed < 1506; seed++) {
    const scene = await rottenScene(seed, false);
    if (scene === undefined) continue;
    const { work, images, before } = scene;
    for (let stopAfterSteps = 1; ; stopAfterSteps++) {
      const mounted = await mount(seed, images, { stopAfterSteps });
      await settle(mounted);
      await unmount(mounted);
      if (mounted.volume.members.inSync === 0b11) break;
      stops++;
      await isKept(seed, mounted, before);
    }
    const mounted = await mount(seed, images);
    await work.run(mounted.fs, 10);
    await settle(mounted);
    expect(mounted.notes.join()).not.toMatch(/no room/);
    await unmount(mounted);
    await togetherAgain(seed, mounted, work);
  }
  expect(stops).toBeGreaterThan(3);
});

it("is not overwritten on a guess where a part of its last state can't be reached", async () => {
  let tried = 0;
  for (let seed = 1510; seed < 1516; seed++) {
    const scene = await rottenScene(seed, true);
    if (scene === undefined) continue;
    const { work, images } = scene;
    tried++;
    const mounted = await mount(seed, images);
    await settle(mounted);
    await work.run(mounted.fs, 10);
    expect(mounted.volume.readOnly, `seed ${seed}`).toBeUndefined();
    expect(mounted.notes.join()).toMatch(/no room.*--no-anchor/);
    await mounted.caretaker.takeBack(mounted.volume.rings.ring(AWAY)!, { noAnchor: true });
    await settle(mounted);
    await unmount(mounted);
    expect(mounted.volume.members.inSync, mounted.notes.join()).toBe(0b11);
    await eachAlone(seed, imagesOf(mounted.devices), await work.tree());
  }
  expect(tried).toBeGreaterThan(0);
});
