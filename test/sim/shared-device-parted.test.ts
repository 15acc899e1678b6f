// Several copies on one device, and histories that parted (I6): a worker that takes over goes on with its own, and the operator gives
// up copy after copy of the other one, each without a trace on its neighbours.

import { expect, it } from "vitest";
import { historiesReport, type HistoriesReport } from "../../src/cli/histories.ts";
import { assembleCopies } from "../../src/copies/assemble.ts";
import type { CopySet } from "../../src/copies/copy-set.ts";
import { readNodeHeader } from "../../src/copies/read-header.ts";
import { readRings } from "../../src/copies/ring.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import type { SimulatedDevice } from "../../src/device/simulated.ts";
import { KIB } from "../../src/format/geometry.ts";
import { Journal } from "../../src/log/journal.ts";
import { resolveCopies } from "../../src/volume/resolve-copies.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { describeFileSystem } from "../model/digest.ts";
import { JOURNAL_BYTES } from "../model/simulated-volume.ts";
import { type Mounted, targetOf, unmount, Workload } from "./copies-scene.ts";
import { devicesOver, formatted, mounted, SEED, type SharedMount } from "./shared-device-scene.ts";

const standings = ({ copies }: Mounted): string[] => copies.copies.map(({ standing }) => standing);
const treeOf = async ({ fs }: Mounted): Promise<string> => (await describeFileSystem(fs)).join("\n");
const imagesOf = ({ devices }: SharedMount): PagedImage[] => devices.map(({ image }) => image);

/** Work on a mount of these images, without the copies that are `out`; the images afterwards, and what they hold. */
async function goneOn(
  seed: number,
  images: readonly PagedImage[],
  out: readonly number[] = [],
): Promise<{ images: PagedImage[]; tree: string }> {
  const mount = await mounted(images, { degraded: true }, undefined, seed);
  for (const index of out) await takeOut(mount.volume, mount.caretaker, index, { lasting: false });
  const work = new Workload(seed, 200_000);
  await work.begin(mount.fs);
  await work.run(mount.fs, 8);
  await unmount(mount);
  return { images: imagesOf(mount), tree: await work.tree() };
}

/** The copies on these devices, not mounted. */
const copiesOn = (devices: readonly SimulatedDevice[]): Promise<CopySet> =>
  assembleCopies(devices.map(targetOf), { clock: new SimulatedClock() });

const report = async (images: readonly PagedImage[]): Promise<HistoriesReport> =>
  historiesReport(await readRings(await copiesOn(devicesOver(images))));

/** What `h2ts resolve` makes of the images. */
async function resolved(images: readonly PagedImage[], keep: number, discard: number): Promise<PagedImage[]> {
  const devices = devicesOver(images);
  await resolveCopies(await copiesOn(devices), keep, discard);
  return devices.map(({ image }) => image);
}

/** Mounted together they hold `tree`, and so does each device without the others, once all copies are caught up. */
async function becomesWhole(images: readonly PagedImage[], tree: string, members: number): Promise<void> {
  const together = await mounted(images);
  expect(await treeOf(together)).toBe(tree);
  await together.caretaker.settled();
  expect(together.volume.members.inSync, together.notes.join("\n")).toBe(members);
  await unmount(together);
  for (const image of imagesOf(together)) {
    const alone = await mounted([image], { degraded: true });
    expect(await treeOf(alone)).toBe(tree);
    await unmount(alone);
  }
}

it.each([
  ["with two copies", 0, ["divergent", "divergent", "in-sync"]],
  ["with one copy", 1, ["in-sync", "in-sync", "divergent"]],
])(
  "a worker dies whose other device, %s, was written to elsewhere: the next one goes on without that",
  async (_, lent, left) => {
    for (const [ours, theirs] of [
      [0, 2],
      [3, 1],
      [2, 2],
    ] as const) {
      const memory = new Uint8Array(JOURNAL_BYTES);
      const mount = await mounted(await formatted(), { journal: new Journal(memory) });
      const { volume, caretaker, devices } = mount;
      const work = new Workload(SEED, 200_000);
      await work.begin(mount.fs);
      await work.run(mount.fs, 6);
      for (const index of lent === 0 ? [0, 1] : [2]) await takeOut(volume, caretaker, index, { lasting: false });
      const elsewhere = await mounted([devices[lent]!.image.copy()], { degraded: true }, undefined, SEED + 1);
      for (let commits = 0; commits < theirs; commits++) await elsewhere.volume.forceCommit();
      await unmount(elsewhere);
      for (let commits = 0; commits < ours; commits++) await volume.forceCommit();
      await work.run(mount.fs, 3);
      const [own, kept] = [devices[1 - lent]!.image.copy(), memory.slice()];
      await unmount(mount);
      const foreign = imagesOf(elsewhere)[0]!;
      const takenOver = (images: readonly PagedImage[]): Promise<SharedMount> => {
        const options = { journal: new Journal(kept.slice()), takeOver: true };
        const assembling = { lenient: true, takesOver: { volumeUuid: volume.uuid } };
        return mounted(images, options, undefined, SEED + 2, assembling);
      };
      await expect(takenOver([foreign])).rejects.toThrow(/does not go on from root/);
      const next = await takenOver(lent === 0 ? [foreign, own] : [own, foreign]);
      expect(standings(next), `${ours} commits here, ${theirs} there`).toEqual(left);
      expect(await treeOf(next)).toBe(await work.tree());
      await unmount(next);
    }
  },
);

it("either of two devices that went on by themselves is kept, and every copy on the other one given up", async () => {
  const images = await formatted();
  const [disk] = images as [PagedImage, PagedImage];
  const [here, there] = [await goneOn(SEED, [disk]), await goneOn(SEED + 1, images.slice(1))];
  const parted = [here.images[0]!, there.images[0]!];
  await expect(mounted(parted)).rejects.toThrow(/went another way/);
  const before = await report(parted);
  expect(before.parted.map(({ copies }) => copies)).toEqual([
    [0, 2],
    [1, 2],
  ]);
  await expect(resolved(parted, 0, 1)).rejects.toThrow(/one history/);
  await becomesWhole(await resolved(parted, 1, 2), here.tree, 0b111);

  const half = await resolved(parted, 2, 0);
  // Its neighbour, and the one kept, are what they were.
  const after = await report(half);
  expect(after.copies.slice(1)).toEqual(before.copies.slice(1));
  expect(after.parted.map(({ copies }) => copies)).toEqual([[1, 2]]);
  await expect(mounted(half)).rejects.toThrow(/copy 2\): went another way than .*copy 1\)/);
  await becomesWhole(await resolved(half, 2, 1), there.tree, 0b111);
});

it("of three copies on one device that has parts of two histories either history is kept", async () => {
  const images = await formatted([3]);
  const [here, there] = [await goneOn(SEED, images, [1]), await goneOn(SEED + 1, images, [0, 2])];
  const mixed = here.images[0]!;
  const { ranges } = await readNodeHeader(devicesOver(images)[0]!);
  const { startKib, sizeKib } = ranges[1]!;
  const bytes = new Uint8Array(sizeKib * KIB);
  there.images[0]!.read(startKib * KIB, bytes);
  mixed.write(startKib * KIB, bytes);
  await expect(mounted([mixed])).rejects.toThrow(/went another way/);
  expect((await report([mixed])).parted.map(({ copies }) => copies)).toEqual([
    [0, 1],
    [1, 2],
  ]);
  await becomesWhole(await resolved([mixed], 2, 1), here.tree, 0b111);
  await becomesWhole(await resolved(await resolved([mixed], 1, 0), 1, 2), there.tree, 0b111);
});
