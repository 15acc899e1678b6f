// Power cuts while a copy is attached, replaced or detached (I1, I2, I4): each copy keeps its own choice of what was not
// flushed, in every other state during recovery once more. The volume mounts by itself with all copies it knows, holds a state that was
// acknowledged or later, brings the change to its end or never heard of it, and the checker finds nothing.

import { describe, expect, it } from "vitest";
import { bitCount } from "../../src/base/bits.ts";
import { checkVolume } from "../../fsck/check.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { CopiesError } from "../../src/copies/errors.ts";
import { minCopiesFor } from "../../src/copies/membership.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formattedNodes, type Images, mount, type Mounted, targetOf, unmount, Workload } from "../sim/copies-scene.ts";
import { survivors } from "./power-cut.ts";

const SIZES = [20 * MIB, 18 * MIB, 24 * MIB];
const NEW_BYTES = 22 * MIB;
const OLD = 1;

type Change = (mounted: Mounted, device: SimulatedDevice, random: SeededRandom) => Promise<unknown>;

const CHANGES: Readonly<Record<string, Change>> = {
  attach: ({ caretaker }, device, random) => caretaker.attach(targetOf(device), { random }),
  replace: ({ caretaker }, device, random) => caretaker.replace(OLD, targetOf(device), { random }),
  detach: ({ caretaker }) => caretaker.detach(OLD),
};

interface Recording {
  readonly disk: SimulatedDisk;
  readonly firstEvent: number;
  readonly states: readonly string[];
  readonly acknowledged: readonly { readonly events: number; readonly state: number }[];
}

async function record(seed: number, copyCount: number, change: Change): Promise<Recording> {
  const work = new Workload(seed, 60_000);
  const plain = await mount(seed, await formattedNodes(seed, SIZES.slice(0, copyCount)));
  await work.begin(plain.fs);
  await work.run(plain.fs, 15);
  await unmount(plain);
  const disk = new SimulatedDisk();
  const mounted = await mount(
    seed,
    plain.devices.map((device) => device?.image),
    { disk },
  );
  const device = new SimulatedDevice("new", NEW_BYTES, { disk });
  const firstEvent = disk.events.length;
  const states = [await work.tree()];
  const acknowledged = [{ events: firstEvent, state: 0 }];
  const done = change(mounted, device, new SeededRandom(seed + 9));
  for (let i = 0; i < 4; i++) {
    await work.run(mounted.fs, 1);
    states.push(await work.tree());
    if (i % 2 === 1) {
      await mounted.fs.sync();
      acknowledged.push({ events: disk.events.length, state: states.length - 1 });
    }
  }
  await done;
  await mounted.caretaker.settled();
  await unmount(mounted);
  return { disk, firstEvent, states, acknowledged };
}

/** Mounts with everything the volume knows: a device it never heard of, or let go of, is taken away, as the message says. */
async function mountKnown(seed: number, images: Images, disk?: SimulatedDisk): Promise<Mounted> {
  let present = images;
  for (;;) {
    try {
      return await mount(seed, present, disk === undefined ? {} : { disk });
    } catch (error) {
      if (!(error instanceof CopiesError) || !["mixed", "empty", "foreign", "damaged-header"].includes(error.kind))
        throw error;
      const refused = present.findIndex((image, i) => image !== undefined && error.target === `copy${i}`);
      if (refused < 1) throw error;
      present = present.map((image, i) => (i === refused ? undefined : image));
    }
  }
}

/** What a second power cut, anywhere in what follows the first, may leave. */
async function cutAgain(seed: number, images: Images, random: SeededRandom): Promise<Images> {
  // Which of them are the volume's is found out first: what is refused has no part in the record.
  const { devices } = await mountKnown(seed, images);
  const disk = new SimulatedDisk();
  const mounted = await mount(
    seed + 1,
    images.map((image, i) => (devices[i] === undefined ? undefined : image)),
    { disk },
  );
  await mounted.caretaker.settled();
  await unmount(mounted);
  const cut = random.below(disk.events.length + 1);
  let number = 0;
  return images.map((image, i) => {
    if (devices[i] === undefined) return image;
    const point = new CrashPoint(disk, number++);
    point.advanceTo(cut);
    return point.image(survivors(point.pending, random));
  });
}

async function judge(seed: number, recording: Recording, cut: number, images: Images, powerCuts = 1): Promise<void> {
  const promised = recording.acknowledged.findLast((sync) => sync.events <= cut)?.state ?? 0;
  const mounted = await mountKnown(seed, images);
  const tree = (await describeFileSystem(mounted.fs)).join("\n");
  expect(recording.states.indexOf(tree, promised), "an acknowledged state").toBeGreaterThanOrEqual(0);
  await mounted.caretaker.settled();
  await unmount(mounted);
  const { members } = mounted.volume;
  const notes = mounted.notes.join("\n");
  expect(members.all, notes).toBe(members.inSync);
  expect(members.minCopies, notes).toBe(minCopiesFor(bitCount(members.all)));
  const found = await checkVolume(mounted.copies, { everyRoot: true, powerCuts });
  expect(
    found.filter(({ severity }) => severity !== "note"),
    notes,
  ).toEqual([]);
}

describe("a power cut", () => {
  for (const [name, change] of Object.entries(CHANGES)) {
    it(`at any time of a change (${name}) leaves the volume as before or on its way`, async () => {
      for (const seed of [1, 2, 3, 4]) {
        const copyCount = 2 + (seed % 2);
        const recording = await record(seed, copyCount, change);
        const { disk, firstEvent } = recording;
        const random = new SeededRandom(seed ^ 0x5eed);
        const points = Array.from({ length: copyCount + 1 }, (_, device) => new CrashPoint(disk, device));
        for (let cut = firstEvent; cut <= disk.events.length; cut += 2) {
          for (const point of points) point.advanceTo(cut);
          for (let round = 0; round < 2; round++) {
            const images = points.map((point) => point.image(survivors(point.pending, random)));
            const twice = async (): Promise<void> =>
              judge(seed, recording, cut, await cutAgain(seed, images, random), 2);
            await (round === 0 ? judge(seed, recording, cut, images) : twice()).catch((error: unknown) => {
              throw new Error(`seed ${seed}, cut ${cut} of ${disk.events.length}, round ${round}`, { cause: error });
            });
          }
        }
      }
    });
  }
});
