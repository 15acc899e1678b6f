// A root that changes who counts, or how many are needed, and fails on some copies when it is flushed (I2): it may be on any of
// them. Whoever goes on, no others may go on by themselves, or show a state without what was acknowledged since.

import { afterEach, describe, expect, it, vi } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { DeviceError } from "../../src/device/device.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { rootInSync, rootMinCopies } from "../../src/format/root-block.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import { formattedNodes, type Images, imagesOf, mount, type Mounted, settle, targetOf } from "./copies-scene.ts";

afterEach(() => vi.restoreAllMocks());

const SIZE = 20 * MIB;

interface Change {
  readonly copies: number;
  readonly joins?: boolean;
  readonly prepare?: (mounted: Mounted) => Promise<unknown>;
  readonly make: (mounted: Mounted, device: SimulatedDevice) => Promise<unknown>;
  /** Tells the root that makes the change durable. */
  readonly isMade: (root: DataView) => boolean;
}

const setMin = (mounted: Mounted, minCopies: number): Promise<void> =>
  mounted.volume.changeMembers(() => mounted.volume.members.changeMinCopies(minCopies));

const attachTo = (copies: number): Change => ({
  copies,
  joins: true,
  make: ({ caretaker }, device) => caretaker.attach(targetOf(device), { random: new SeededRandom(5) }),
  isMade: (root) => (rootInSync(root) & (1 << copies)) !== 0,
});

const replaceOn = (copies: number): Change => ({
  ...attachTo(copies),
  make: ({ caretaker }, device) => caretaker.replace(copies - 1, targetOf(device), { random: new SeededRandom(6) }),
});

const CHANGES: Readonly<Record<string, Change>> = {
  "a copy attached to one": attachTo(1),
  "a copy attached to two": attachTo(2),
  "a copy attached to three": attachTo(3),
  "a copy of two replaced": replaceOn(2),
  "a copy of four replaced": replaceOn(4),
  "M raised": {
    copies: 3,
    prepare: (mounted) => setMin(mounted, 1),
    make: (mounted) => setMin(mounted, 2),
    isMade: (root) => rootMinCopies(root) === 2,
  },
  "M lowered": {
    copies: 3,
    make: (mounted) => setMin(mounted, 1),
    isMade: (root) => rootMinCopies(root) === 1,
  },
};

/** Makes `change` on a new volume; copies of the mask `failing` fail the flush of its root, which `lands` on them or not. */
async function interrupted(seed: number, change: Change, failing: number, lands: boolean): Promise<Mounted> {
  const mounted = await mount(seed, await formattedNodes(seed, new Array<number>(change.copies).fill(SIZE)));
  const devices = mounted.devices as SimulatedDevice[];
  if (change.joins === true) devices.push(new SimulatedDevice("new", SIZE));
  await change.prepare?.(mounted);
  const { rings } = mounted.volume;
  const write = rings.write.bind(rings);
  let isArmed = true;
  vi.spyOn(rings, "write").mockImplementation(async (image) => {
    if (!isArmed || !change.isMade(new DataView(image.buffer, image.byteOffset, image.length))) return write(image);
    isArmed = false;
    for (const [i, device] of devices.entries()) {
      if ((failing & (1 << i)) === 0) continue;
      vi.spyOn(device, "flush").mockRejectedValue(new DeviceError(device.name, "flush", 0, "EIO"));
      if (!lands) vi.spyOn(device, "write").mockResolvedValue();
    }
    await write(image);
  });
  await change.make(mounted, devices.at(-1) as SimulatedDevice).catch(() => undefined);
  await settle(mounted);
  expect(isArmed).toBe(false);
  return mounted;
}

/** What the copies of the mask are together, to a mount that nobody told to go on without the rest. */
async function asMounted(seed: number, images: Images, mask: number): Promise<"writes" | "reads" | "refused"> {
  try {
    const part = images.map((image, i) => ((mask & (1 << i)) === 0 ? undefined : image));
    const { volume } = await mount(seed, part, { start: false });
    return volume.readOnly === undefined ? "writes" : "reads";
  } catch {
    return "refused";
  }
}

describe("a root that fails on some copies", () => {
  for (const [name, change] of Object.entries(CHANGES)) {
    it(`${name}: nobody goes on beside those that do`, async () => {
      const count = change.copies + (change.joins === true ? 1 : 0);
      const all = (1 << count) - 1;
      let wentOn = 0;
      for (let failing = 1; failing <= all; failing++) {
        for (const lands of [true, false]) {
          const what = `${failing.toString(2)} failing, ${lands ? "landed" : "lost"}`;
          const seed = 8000 + failing;
          const mounted = await interrupted(seed, change, failing, lands);
          const goesOn = (await runStep(mounted.fs, { do: "mkdir", at: ["acknowledged"] })) === "ok";
          const isSynced = goesOn && (await runStep(mounted.fs, { do: "sync" })) === "ok";
          const going = mounted.copies.active.reduce((mask, copy) => mask | copy.bit, 0);
          const images = imagesOf(mounted.devices);
          vi.restoreAllMocks();
          if (isSynced) {
            wentOn++;
            const others = all & ~going;
            for (let part = others; part !== 0; part = (part - 1) & others)
              expect(await asMounted(seed, images, part), `${what}: ${part.toString(2)}`).toBe("refused");
            continue;
          }
          for (let part = 1; part < all; part += 2) {
            const parts = [await asMounted(seed, images, part), await asMounted(seed, images, all & ~part)];
            expect(parts, `${what}: ${part.toString(2)} and the rest`).not.toEqual(["writes", "writes"]);
          }
        }
      }
      expect(wentOn).toBeGreaterThan(0);
    });
  }
});
