// A worker is killed while a root by which other copies count is on its way, and the network parts: the next worker sees only copies that
// do not tell of that root, or of the one before it. It knows by the journal, and goes on only if the others can't do so by themselves (I2).

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { ROOT_BYTES, rootInSync, rootMinCopies } from "../../src/format/root-block.ts";
import { Journal } from "../../src/log/journal.ts";
import { beginDetach } from "../../src/walk/detach.ts";
import { describeFileSystem } from "../model/digest.ts";
import { JOURNAL_BYTES, MIB } from "../model/simulated-volume.ts";
import {
  formattedNodes,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  settle,
  targetOf,
  unmount,
  Workload,
} from "./copies-scene.ts";

const SEED = 9700;
const NEVER = new Promise<void>(() => undefined);

interface Killed {
  readonly images: Images;
  readonly journal: () => Journal;
  readonly tree: string;
}

/**
 * Mounts `given` and does what `begin` does, until a root of these terms is written: it reaches all but the copies of `without`.
 * There the worker is killed.
 */
async function killedAt(
  given: Images,
  terms: { readonly inSync: number; readonly minCopies: number },
  without: number,
  begin: (mounted: Mounted) => { readonly fresh?: SimulatedDevice; readonly done: Promise<unknown> },
): Promise<Killed> {
  const memory = new Uint8Array(JOURNAL_BYTES);
  const mounted = await mount(SEED, given, { journal: new Journal(memory), start: false });
  const work = new Workload(SEED, 60_000);
  await work.begin(mounted.fs);
  await work.run(mounted.fs, 10);
  await mounted.fs.sync();
  const { rings } = mounted.volume;
  const write = rings.write.bind(rings);
  let reach: () => void = () => undefined;
  const reached = new Promise<void>((resolve) => (reach = resolve));
  rings.write = async (image: Uint8Array): Promise<void> => {
    const view = new DataView(image.buffer, image.byteOffset, ROOT_BYTES);
    if (rootInSync(view) === terms.inSync && rootMinCopies(view) === terms.minCopies) {
      for (const [copy, device] of mounted.devices.entries())
        if ((without & (1 << copy)) !== 0)
          device?.fail({ operation: "write", nth: 1, permanent: true, effect: { kind: "late", until: NEVER } });
      setTimeout(reach, 50);
    }
    await write(image);
  };
  const { fresh, done } = begin(mounted);
  void done.catch(() => undefined);
  await reached;
  const devices = fresh === undefined ? mounted.devices : [...mounted.devices, fresh];
  const kept = memory.slice();
  const images = devices.map((device) => device?.image.copy());
  return { images, journal: () => new Journal(kept.slice()), tree: await work.tree() };
}

const attaching = async (): Promise<Killed> =>
  killedAt(
    await formattedNodes(SEED, [20 * MIB, 20 * MIB]),
    { inSync: 0b111, minCopies: 2 },
    0b001,
    ({ caretaker }) => {
      caretaker.start();
      const fresh = new SimulatedDevice("fresh", 22 * MIB);
      return { fresh, done: caretaker.attach(targetOf(fresh), { random: new SeededRandom(6) }) };
    },
  );

/** How many copies are needed goes down first, by a root of its own. */
const detaching = async (): Promise<Killed> =>
  killedAt(
    await formattedNodes(SEED, [20 * MIB, 20 * MIB, 20 * MIB]),
    { inSync: 0b111, minCopies: 1 },
    0b110,
    ({ volume }) => ({
      done: beginDetach(volume, 2),
    }),
  );

/** A copy that was away comes back to the only one that went on, with which one was enough: from then on two are needed. */
async function returning(): Promise<Killed> {
  const together = await mount(SEED, await formattedNodes(SEED, [20 * MIB, 20 * MIB, 20 * MIB]));
  await unmount(together);
  const [first, ...others] = imagesOf(together.devices);
  const alone = await mount(SEED, [first, undefined, undefined], { degraded: true });
  await unmount(alone);
  return killedAt(
    [...imagesOf(alone.devices).slice(0, 1), ...others.slice(0, 1)],
    { inSync: 0b11, minCopies: 2 },
    0b11,
    ({ caretaker }) => {
      caretaker.start();
      return { done: caretaker.settled() };
    },
  );
}

const only = (images: Images, copies: number): Images =>
  images.map((image, copy) => ((copies & (1 << copy)) === 0 ? undefined : image?.copy()));

describe.each([
  ["joins", attaching],
  ["leaves", detaching],
])("killed while the root with which a third copy %s is on its way", (_what, kill) => {
  it("the next worker does not go on with one copy beside the two others, which may", async () => {
    const { images, journal, tree } = await kill();
    const one = await mount(SEED + 1, only(images, 0b001), { journal: journal(), takeOver: true }, SEED);
    expect(one.volume.readOnly).toMatch(/^1 of the 2 copies needed are complete/);
    expect((await describeFileSystem(one.fs)).join("\n")).toBe(tree);
    await expect((async () => one.fs.sync())()).rejects.toThrow();
    const two = await mount(SEED + 2, only(images, 0b110), { start: false });
    expect(two.volume.readOnly).toBeUndefined();
    expect((await describeFileSystem(two.fs)).join("\n")).toBe(tree);
  });

  it.each([0b011, 0b101, 0b111])("the next worker goes on with enough copies (mask %i)", async (copies) => {
    const { images, journal, tree } = await kill();
    const next = await mount(SEED + 1, only(images, copies), { journal: journal(), takeOver: true }, SEED);
    await goesOnWhole(next, tree);
  });
});

/** It may be written to, has all that was completed, and ends well. */
async function goesOnWhole(next: Mounted, tree: string): Promise<void> {
  expect(next.volume.readOnly).toBeUndefined();
  expect((await describeFileSystem(next.fs)).join("\n")).toBe(tree);
  await settle(next);
  await next.fs.sync();
  await unmount(next);
}

describe("killed while the root with which a copy comes back is on its way, that raises how many are needed", () => {
  it("the next worker goes on where none is missing, or the other can't go on by that root alone", async () => {
    const { images, journal, tree } = await returning();
    for (const copies of [0b01, 0b11]) {
      const next = await mount(SEED + 1, only(images, copies), { journal: journal(), takeOver: true }, SEED);
      await goesOnWhole(next, tree);
    }
    await expect(mount(SEED + 2, only(images, 0b10), { start: false })).rejects.toThrow(/is missing/);
  });
});
