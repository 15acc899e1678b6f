// Random lives of a volume with copies=K here and there: copies fail at some write or flush, come, go, are replaced, scrubbed, and
// all of it is interrupted by unmounts. Whatever was completed is there whenever all members are (I1, I2, I4, I8).

import { expect, it } from "vitest";
import { bitCount } from "../../src/base/bits.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { FsError } from "../../src/base/errno.ts";
import { CopiesError } from "../../src/copies/errors.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  findings,
  formattedNodes,
  mount,
  type Mounted,
  settle,
  targetOf,
  treeOf,
  unmount,
  Workload,
} from "./copies-scene.ts";
import { setCopies } from "./narrow-scene.ts";

const ROUNDS = 6;

async function life(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const work = new Workload(seed, 200_000);
  let images = [...(await formattedNodes(seed, [24 * MIB, 26 * MIB, 22 * MIB].slice(0, 2 + random.below(2))))];
  for (let round = 0; round <= ROUNDS; round++) {
    const mounted = await mount(seed + round, images, {}, seed);
    if (round === 0) await work.begin(mounted.fs);
    await vary(mounted, random);
    await work.run(mounted.fs, 8);
    const attached = round === ROUNDS ? undefined : await disturb(mounted, random);
    await work.run(mounted.fs, 8);
    if (round === ROUNDS || random.below(2) === 0) await settle(mounted);
    await unmount(mounted);
    expect(mounted.volume.failed, mounted.notes.join("\n")).toBe(false);
    images = [...mounted.devices, attached]
      .filter((device) => device !== undefined)
      .filter(({ name }) => mounted.copies.copies.some((copy) => copy.name === name))
      .map((device): PagedImage => device.image);
    const found = await findings(seed, images);
    expect(found.filter(({ name }) => !["root-stale", "root-lost", "root-slot"].includes(name))).toEqual([]);
    expect(await treeOf(seed, images), `round ${round}\n${mounted.notes.join("\n")}`).toBe(await work.tree());
    if (round < ROUNDS) continue;
    expect(mounted.volume.members.inSync, mounted.notes.join("\n")).toBe(mounted.volume.members.all);
  }
}

/** Sets copies=K on the root directory and on one of those that the work goes on in. */
async function vary({ fs, volume }: Mounted, random: SeededRandom): Promise<void> {
  const copies = bitCount(volume.members.all & ~volume.members.leaving);
  for (const name of ["", "a"]) {
    const k = random.below(copies + 1);
    await setCopies(fs, name, k === 0 ? "all" : k).catch((error: unknown) => {
      // "a" may have been removed.
      if (!(error instanceof FsError)) throw error;
    });
  }
}

/** Lets something happen to the copies; gives the device that was added. */
async function disturb(mounted: Mounted, random: SeededRandom): Promise<SimulatedDevice | undefined> {
  const { caretaker, copies, volume } = mounted;
  const present = copies.copies.filter(({ index }) => (volume.members.inSync & (1 << index)) !== 0);
  const { index, name } = present[random.below(present.length)]!;
  const device = new SimulatedDevice("new", (22 + random.below(6)) * MIB);
  try {
    switch (random.below(5)) {
      case 0:
      case 1: {
        // With as few as it takes the volume would turn read-only, as it should.
        if (present.length <= volume.members.minCopies) return undefined;
        const operation = random.below(2) === 0 ? "write" : "flush";
        const nth = 1 + random.below(10);
        const failing = mounted.devices.find((each) => each?.name === name);
        failing?.fail({ operation, nth, permanent: true, effect: { kind: "error", code: "EIO" } });
        return undefined;
      }
      case 2:
        if (present.length > 3) return undefined;
        await caretaker.attach(targetOf(device));
        return device;
      case 3:
        await caretaker.replace(index, targetOf(device));
        return device;
      default:
        if (present.length < 2) return undefined;
        await caretaker.detach(index);
        return undefined;
    }
  } catch (error) {
    if (!(error instanceof CopiesError)) throw error;
    return undefined;
  }
}

const firstSeed = Number(process.env["SIM_SEED"] ?? 1);
const seeds = Number(process.env["SIM_SEEDS"] ?? 40);

it(`lives of volumes with copies=K, seeds ${firstSeed} to ${firstSeed + seeds - 1}`, async () => {
  for (let seed = firstSeed; seed < firstSeed + seeds; seed++) {
    await life(seed).catch((error: unknown) => {
      throw new Error(`seed ${seed}`, { cause: error });
    });
  }
}, 600_000);
