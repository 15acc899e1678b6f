// Power cuts about the roots that change who is in sync (I2, I11): of the roots under way each copy keeps its own or not, and then the copies
// are parted. Never may both parts be mounted for writing, each by itself: what one of them acknowledges the other would not know.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formattedNodes, type Images, mount, type Mounted, targetOf, unmount, Workload } from "../sim/copies-scene.ts";

const SIZES = [20 * MIB, 18 * MIB, 24 * MIB];
const NEW_BYTES = 22 * MIB;
/** Front and back of a root: with more than those under way on a device it is blocks that are written. */
const ROOT_WRITES = 2;
const SEED = 5;

/** What became of a volume after a change, and the sequence of the last root before it. */
interface Recording {
  readonly disk: SimulatedDisk;
  readonly copyCount: number;
  readonly sequence: number;
}

async function workedVolume(copyCount: number): Promise<{ work: Workload; images: Images }> {
  const work = new Workload(SEED, 60_000);
  const mounted = await mount(SEED, await formattedNodes(SEED, SIZES.slice(0, copyCount)));
  await work.begin(mounted.fs);
  await work.run(mounted.fs, 15);
  await unmount(mounted);
  return { work, images: mounted.devices.map((device) => device?.image) };
}

async function recordReplace(copyCount: number): Promise<Recording> {
  const { images } = await workedVolume(copyCount);
  const disk = new SimulatedDisk();
  const mounted = await mount(SEED, images, { disk });
  const { sequence } = mounted.volume;
  const device = new SimulatedDevice("new", NEW_BYTES, { disk });
  await mounted.caretaker.replace(0, targetOf(device), { random: new SeededRandom(SEED + 1) });
  await mounted.caretaker.settled();
  await unmount(mounted);
  expect(mounted.volume.members.all, mounted.notes.join("\n")).toBe(((1 << copyCount) - 1) << 1);
  return { disk, copyCount: copyCount + 1, sequence };
}

/** Holds back the commit that `count` resyncs end with until all of them ask for it, as when they have been brought everything between two commits. */
function joinTogether({ volume }: Mounted, count: number): void {
  const forceCommit = volume.forceCommit.bind(volume);
  const waiting: (() => void)[] = [];
  volume.forceCommit = async () => {
    if (waiting.length < count) {
      await new Promise<void>((resolve) => {
        waiting.push(resolve);
        if (waiting.length === count) for (const go of waiting) go();
      });
    }
    await forceCommit();
  };
}

/** All copies but the last were away for a while, and come back at once. */
async function recordReturn(copyCount: number): Promise<Recording> {
  const { work, images } = await workedVolume(copyCount);
  const isAway = (i: number): boolean => i < copyCount - 1;
  const apart = await mount(
    SEED,
    images.map((image, i) => (isAway(i) ? undefined : image)),
    { degraded: true },
  );
  await work.run(apart.fs, 10);
  await unmount(apart);
  const disk = new SimulatedDisk();
  const all = images.map((image, i) => (isAway(i) ? image : apart.devices[i]?.image));
  const mounted = await mount(SEED, all, { disk, start: false });
  const { sequence } = mounted.volume;
  joinTogether(mounted, copyCount - 1);
  mounted.caretaker.start();
  await mounted.caretaker.settled();
  await unmount(mounted);
  expect(mounted.volume.members.inSync, mounted.notes.join("\n")).toBe((1 << copyCount) - 1);
  return { disk, copyCount, sequence };
}

/** The root that these copies go on from for writing; undefined where they don't by themselves. */
async function goesOnFrom(images: Images): Promise<number | undefined> {
  let mounted: Mounted;
  try {
    mounted = await mount(SEED, images, { start: false });
  } catch {
    return undefined;
  }
  const { readOnly, sequence } = mounted.volume;
  await unmount(mounted).catch(() => undefined);
  return readOnly === undefined ? sequence : undefined;
}

/** Every cut about a root, every choice of devices that keep theirs, every parting of the copies; about one in `nth` of these, drawn. */
async function expectOnePart({ disk, copyCount, sequence }: Recording, nth: number): Promise<void> {
  const random = new SeededRandom(SEED);
  const points = Array.from({ length: copyCount }, (_, device) => new CrashPoint(disk, device));
  let tried = 0;
  for (let cut = 0; cut <= disk.events.length; cut++) {
    for (const point of points) point.advanceTo(cut);
    if (points.some(({ pending }) => pending.length > ROOT_WRITES)) continue;
    for (let kept = 0; kept < 1 << copyCount; kept++) {
      const isPointless = points.some(({ pending }, i) => (kept & (1 << i)) !== 0 && pending.length === 0);
      if (isPointless || points.every(({ pending }) => pending.length === 0)) continue;
      for (let part = 1; part < 1 << (copyCount - 1); part++) {
        if (random.below(nth) !== 0) continue;
        tried++;
        const images = points.map((point, i) =>
          point.image((kept & (1 << i)) === 0 ? [] : point.pending.map((event) => ({ event }))),
        );
        const one = await goesOnFrom(images.map((image, i) => ((part & (1 << i)) === 0 ? undefined : image)));
        if (one === undefined || one < sequence) continue;
        const other = await goesOnFrom(images.map((image, i) => ((part & (1 << i)) === 0 ? image : undefined)));
        if (other === undefined || other < sequence) continue;
        const where = `cut ${cut} of ${disk.events.length}, kept ${kept.toString(2)}, part ${part.toString(2)}, seed ${SEED}`;
        expect.fail(`${where}: one part goes on from root ${one}, the other from ${other}`);
      }
    }
  }
  expect(tried).toBeGreaterThan(50);
}

describe("after a power cut no two parts of the copies go on for writing, each by itself", () => {
  it("while the only copy is replaced", async () => expectOnePart(await recordReplace(1), 1));
  it("while one of three copies is replaced", async () => expectOnePart(await recordReplace(3), 12));
  it("while two of three copies come back at once", async () => expectOnePart(await recordReturn(3), 2));
});
