// A copy whose state can't be told from its roots (I6): rolled back to an older image, a clone, its ring wiped, blocks of it
// spoilt. It is revalidated block by block; what matches is kept, the rest is brought anew, and in the end each copy alone
// holds everything.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { KIB, RING_AREA_KIB } from "../../src/format/geometry.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { refPointer } from "../../src/format/blockref.ts";
import { rootRevalidateCursor } from "../../src/format/root-block.ts";
import { inodesRoot } from "../../src/ops/inodes.ts";
import { treeFind } from "../../src/tree/tree.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { Caretaker } from "../../src/walk/caretaker.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import {
  findings,
  formatted,
  type Images,
  imagesOf,
  mount,
  settle,
  togetherAgain,
  treeOf,
  unmount,
  worked,
  type Workload,
} from "./copies-scene.ts";
import { inodeAt } from "./narrow-scene.ts";
import { within } from "./virtual-time.ts";

const SIZES = [32 * MIB, 28 * MIB, 36 * MIB];
const BULK_BYTES = 6 * MIB;

/** What becomes of the image of copy 1 while the others go on. `before` is what it was earlier, in sync. */
type Mischief = (now: PagedImage, before: PagedImage, random: SeededRandom) => PagedImage;

function wiped(image: PagedImage): PagedImage {
  const fork = image.fork();
  const ring = new Uint8Array(RING_AREA_KIB * KIB);
  fork.write(0, ring);
  fork.write(image.sizeBytes - ring.length, ring);
  return fork;
}

function spoilt(image: PagedImage, random: SeededRandom): PagedImage {
  const fork = image.fork();
  for (let i = 0; i < 400; i++) fork.flipBit(RING_AREA_KIB * KIB + random.below(10 * MIB), random.below(8));
  return fork;
}

/** What fsck says of such a copy before it is caught up. */
const EXPECTED: readonly string[] = ["copy-behind", "root-lost", "root-stale", "root-slot"];

const MISCHIEF: Readonly<Record<string, Mischief>> = {
  "rolled back": (_now, before) => before.fork(),
  "with its ring wiped": (now) => wiped(now),
  "rolled back and its ring wiped": (_now, before) => wiped(before),
  "rolled back and spoilt": (_now, before, random) => spoilt(before, random),
  "wiped and spoilt": (now, _before, random) => spoilt(wiped(now), random),
};

interface Scene {
  readonly work: Workload;
  readonly images: Images;
  /** The tree as of the older image. */
  readonly before: string;
}

/** A volume whose copy 1 is made strange after more work was done on it and, if `away`, on the others alone. */
async function strange(seed: number, mischief: Mischief, away: boolean): Promise<Scene> {
  const { work, mounted: first } = await worked(seed, await formatted(seed, SIZES), {
    steps: 20,
    bulkBytes: BULK_BYTES,
  });
  let mounted = first;
  await unmount(mounted);
  const before = mounted.devices[1]!.image;
  const treeBefore = await work.tree();
  mounted = await mount(seed, imagesOf(mounted.devices));
  // One root behind: see rolled-back.test.ts.
  for (let commit = 0; commit < 3; commit++) {
    await work.run(mounted.fs, 10);
    await mounted.volume.forceCommit();
  }
  await unmount(mounted);
  const images = [...imagesOf(mounted.devices)];
  const now = images[1]!;
  if (away) {
    images[1] = undefined;
    mounted = await mount(seed, images);
    await work.run(mounted.fs, 30);
    await unmount(mounted);
    images.splice(0, 3, ...imagesOf(mounted.devices));
  }
  images[1] = mischief(now, before, new SeededRandom(seed));
  return { work, images, before: treeBefore };
}

describe("a copy of unknown state", () => {
  for (const [name, mischief] of Object.entries(MISCHIEF)) {
    for (const away of [false, true]) {
      it(`${name}${away ? ", the others having gone on," : ""} is revalidated and caught up`, async () => {
        for (let seed = 500; seed < 506; seed++) {
          const { work, images } = await strange(seed, mischief, away);
          expect(
            (await findings(seed, images)).filter(({ name }) => !EXPECTED.includes(name)),
            `seed ${seed}`,
          ).toEqual([]);
          const mounted = await mount(seed, images);
          await work.run(mounted.fs, 10);
          await settle(mounted);
          const { revalidation, progress } = mounted.caretaker.catchUps.get(1)!;
          expect(revalidation?.bytes, `seed ${seed}`).toBeGreaterThan(BULK_BYTES / 2);
          if (!name.includes("spoilt")) expect(progress.bytes, `seed ${seed}`).toBeLessThan(BULK_BYTES / 2);
          await work.run(mounted.fs, 5);
          await unmount(mounted);
          await togetherAgain(seed, mounted, work);
        }
      });
    }
  }

  it("is not trusted while a part of the tree can't be read, and so not all of it be looked at (I1)", async () => {
    const seed = 560;
    const { work, mounted: first } = await worked(seed, await formatted(seed, SIZES), { steps: 20, bulkBytes: MIB });
    await unmount(first);
    const before = first.devices[1]!.image;
    const changed = await mount(seed, imagesOf(first.devices));
    const step = { do: "write", at: ["bulk"], offset: 0, length: MIB / 2, fill: 77 } as const;
    for (const each of [changed.fs, work.model]) expect(await runStep(each, step)).toBe("ok");
    for (let commit = 0; commit < 4; commit++) await changed.volume.forceCommit();
    const ino = await inodeAt(changed.fs, "bulk");
    const { block, at } = (await changed.volume.view((state) => treeFind(state.store, inodesRoot(state.pfs()), ino)))!;
    const inodeKib = refPointer(block.view, at, 0);
    await unmount(changed);
    const [copy0, , copy2] = imagesOf(changed.devices);
    copy0!.flipBit(inodeKib * KIB + 500, 1);
    // The one that has it is away.
    const alone = await mount(seed, [copy0, before.fork(), undefined], { degraded: true });
    await settle(alone);
    expect(alone.copies.copy(1)).toMatchObject({ standing: "syncing", untrusted: true });
    expect(alone.notes.join("\n")).toMatch(
      /copy 1 can't come in sync: 1 blocks .* can't be checked; .*h2ts online DIR 1/,
    );
    await unmount(alone);
    const mounted = await mount(seed, [...imagesOf(alone.devices).slice(0, 2), copy2]);
    await settle(mounted);
    await bringBack(mounted.volume, mounted.caretaker, 1);
    await settle(mounted);
    await unmount(mounted);
    await togetherAgain(seed, mounted, work);
  });

  it("can still be the master at its last complete state if all others die before it is caught up (I7)", async () => {
    for (let steps = 1; ; steps++) {
      const seed = 540 + steps;
      const { work, images, before } = await strange(seed, MISCHIEF["rolled back"] as Mischief, true);
      const mounted = await mount(seed, images, { stopAfterSteps: steps });
      await work.run(mounted.fs, 5);
      await settle(mounted);
      await unmount(mounted);
      if ((mounted.volume.members.inSync & 0b10) !== 0) {
        expect(steps).toBeGreaterThan(2);
        break;
      }
      const alone = [undefined, mounted.devices[1]!.image, undefined];
      expect(await treeOf(seed, alone, { forcedMaster: 1 }), `seed ${seed}`).toBe(before);
    }
  });

  it("stops at once while it waits for another one to be checked", async () => {
    const seed = 530;
    const { work, mounted: first } = await worked(seed, await formatted(seed, SIZES), { steps: 5, bulkBytes: MIB });
    await unmount(first);
    const images = imagesOf(first.devices).map((image, i) => (i === 0 ? image : wiped(image!)));
    const { clock, volume, fs } = await mount(seed, images, { degraded: true, start: false });
    // So slow that the first is at it for minutes.
    const caretaker = new Caretaker(volume, { clock, bytesPerSecond: 4096 });
    caretaker.start();
    await within(clock, 1000, work.run(fs, 3));
    expect([1, 2].map((index) => caretaker.catchUps.get(index)?.end)).toEqual([undefined, undefined]);
    await within(clock, 0, caretaker.stop(2));
    expect([1, 2].map((index) => caretaker.catchUps.get(index)?.end)).toEqual([undefined, "stopped"]);
    await within(clock, 0, caretaker.close());
    await within(clock, 0, volume.close());
  });

  it("goes on where it was when the volume is mounted again", async () => {
    let cursors = 0;
    for (let seed = 520; seed < 528; seed++) {
      const { work, images } = await strange(seed, MISCHIEF["rolled back and spoilt"] as Mischief, true);
      let mounted = await mount(seed, images, { stopAfterSteps: 1 });
      await work.run(mounted.fs, 3);
      await settle(mounted);
      await unmount(mounted);
      if (rootRevalidateCursor(mounted.volume.rootImage.view) !== 0) cursors++;
      mounted = await mount(seed, imagesOf(mounted.devices));
      await settle(mounted);
      await unmount(mounted);
      await togetherAgain(seed, mounted, work);
    }
    expect(cursors).toBeGreaterThan(2);
  });
});
