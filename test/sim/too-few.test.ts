// A volume of which too few copies are here may be read, and nothing else (I2, I3): whoever would write to it without a mount, or
// by a command, is refused before anything is changed, and with the others it is whole afterwards.

import { describe, expect, it } from "vitest";
import { fsckVolume } from "../../fsck/fsck.ts";
import { resyncVolume } from "../../fsck/resync.ts";
import type { Copy } from "../../src/copies/copy.ts";
import { DeviceError } from "../../src/device/device.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { NODE_HEADER_AREA_BYTES, slotOffsets } from "../../src/format/geometry.ts";
import { Journal, RECORD_BYTES_MAX } from "../../src/log/journal.ts";
import { freeze } from "../../src/walk/freeze.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  copiesOf,
  devicesOver,
  eachAlone,
  findings,
  formattedNodes,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  settle,
  targetOf,
  unmount,
  worked,
} from "./copies-scene.ts";

const SEED = 9100;
const SIZES = [24 * MIB, 24 * MIB, 24 * MIB];
const TOO_FEW = /^1 of the 2 copies needed are complete; give more of them/;
const journal = (): Journal => new Journal(new Uint8Array(3 * RECORD_BYTES_MAX));

interface Scene {
  /** Copy 2 was left behind before; copies 0 and 1 are in sync, and two are needed. */
  readonly images: Images;
  readonly tree: string;
}

/** `crashed`: what was acknowledged last is in the log only. */
async function scene({ crashed }: { readonly crashed: boolean }): Promise<Scene> {
  const [first, second, third] = await formattedNodes(SEED, SIZES);
  const { work, mounted } = await worked(
    SEED,
    [first, second, undefined],
    { steps: 15, bulkBytes: MIB },
    { journal: journal() },
  );
  await mounted.fs.sync();
  if (!crashed) await unmount(mounted);
  const [zero, one] = mounted.devices;
  return { images: [zero?.image, one?.image, third], tree: await work.tree() };
}

/** Devices of copy 0 alone, or of 0 and 2. */
function open(images: Images, withOld = false): Mounted["devices"] {
  return devicesOver([images[0], undefined, withOld ? images[2] : undefined]);
}

/** Nothing was written to copy 0, and together with copy 1 the volume is whole. */
async function untouched({ images, tree }: Scene, devices: Mounted["devices"]): Promise<void> {
  for (const device of devices) expect(device?.calls.write ?? 0, device?.name).toBe(0);
  const both = await mount(SEED, [devices[0]?.image, images[1], undefined]);
  expect(both.volume.readOnly).toBeUndefined();
  await settle(both);
  await unmount(both);
  const after = imagesOf(both.devices);
  const found = await findings(SEED, after, { everyRoot: true });
  expect(found.filter(({ name }) => name !== "copy-absent")).toEqual([]);
  await eachAlone(SEED, after, tree);
}

describe("with too few copies", () => {
  for (const repair of ["safe", "full"] as const) {
    it(`fsck that repairs (${repair}) leaves a log that waits`, async () => {
      const at = await scene({ crashed: true });
      const devices = open(at.images);
      const target = { copies: await copiesOf(SEED, devices), devices: [devices[0] as SimulatedDevice] };
      const clock = new SimulatedClock();
      await expect(fsckVolume(target, { force: true, repair, clock })).rejects.toThrow(TOO_FEW);
      await untouched(at, devices);
    });

    it(`fsck that repairs (${repair}) leaves roots and tree`, async () => {
      const at = await scene({ crashed: false });
      const damaged = devicesOver(at.images)[0] as SimulatedDevice;
      const [front] = slotOffsets(0, SIZES[0] as number);
      damaged.image.write(NODE_HEADER_AREA_BYTES + front, new Uint8Array(4096).fill(1));
      const devices = open([damaged.image]);
      const target = { copies: await copiesOf(SEED, devices), devices: [devices[0] as SimulatedDevice] };
      const clock = new SimulatedClock();
      const outcome = await fsckVolume(target, { force: true, repair, clock });
      expect(outcome.findings.map(({ name }) => name)).toContain("root-slot");
      expect(outcome.failures.map(({ message }) => message)).toEqual([expect.stringMatching(TOO_FEW)]);
      await untouched(at, devices);
    });
  }

  it("--resync catches nothing up", async () => {
    const at = await scene({ crashed: true });
    const devices = open(at.images, true);
    const clock = new SimulatedClock();
    await expect(resyncVolume(await copiesOf(SEED, devices), { clock })).rejects.toThrow(TOO_FEW);
    await untouched(at, devices);
  });

  /** What a mount that came up read-only is asked for. */
  const COMMANDS: Readonly<Record<string, (mounted: Mounted) => Promise<unknown>>> = {
    attach: ({ caretaker }) => caretaker.attach(targetOf(new SimulatedDevice("new", 26 * MIB))),
    replace: ({ caretaker }) => caretaker.replace(2, targetOf(new SimulatedDevice("new", 26 * MIB))),
    detach: ({ caretaker }) => caretaker.detach(2),
    freeze: ({ volume }) => freeze(volume, 0),
    offline: ({ volume, caretaker }) => takeOut(volume, caretaker, 2, { lasting: true }),
    online: ({ volume, caretaker }) => caretaker.takeBack(volume.rings.ring(2)!),
    commit: ({ volume }) => volume.forceCommit(),
  };

  for (const [name, command] of Object.entries(COMMANDS)) {
    it(`${name} is refused`, async () => {
      const at = await scene({ crashed: true });
      const mounted = await mount(SEED, [at.images[0], undefined, at.images[2]], { journal: journal() });
      await settle(mounted);
      expect(mounted.notes).toEqual([]);
      await expect(command(mounted)).rejects.toThrow(TOO_FEW);
      await unmount(mounted);
      await untouched(at, mounted.devices);
    });
  }

  it("attach writes nothing to the new device", async () => {
    const { images } = await scene({ crashed: false });
    const mounted = await mount(SEED, [images[0], undefined, undefined]);
    const device = new SimulatedDevice("new", 26 * MIB);
    await expect(mounted.caretaker.attach(targetOf(device))).rejects.toThrow(TOO_FEW);
    expect(device.calls.write).toBe(0);
    await unmount(mounted);
  });

  it("a copy that fails meanwhile leads to no commit", async () => {
    const at = await scene({ crashed: true });
    const mounted = await mount(SEED, [at.images[0], undefined, undefined], { journal: journal() });
    const [copy] = mounted.copies.copies as [Copy];
    mounted.copies.giveUp(copy, new DeviceError(copy.name, "read", 0, "ETIMEDOUT"));
    await settle(mounted);
    expect(mounted.volume.failed).toBe(false);
    await unmount(mounted);
    await untouched(at, mounted.devices);
  });
});
