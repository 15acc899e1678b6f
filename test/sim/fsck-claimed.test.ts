// fsck that repairs on devices that other hosts could open (I11): it has claimed them from its first look to its last repair, however
// long that takes, and gives them free afterwards.

import { expect, it } from "vitest";
import { fsckVolume } from "../../fsck/fsck.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { NODE_HEADER_AREA_BYTES, slotOffsets } from "../../src/format/geometry.ts";
import { openVolume } from "../../src/volume/open.ts";
import { MIB } from "../model/simulated-volume.ts";
import { copiesOf, findings, formattedNodes, type Images, imagesOf, unmount, worked } from "./copies-scene.ts";
import { within } from "./virtual-time.ts";

const SEED = 9300;
const SIZES = [20 * MIB, 20 * MIB];
const LONG_MS = 3_600_000;

/** Devices that nobody has locked, with blocks that take `blockMs` to be read. */
const sharedDevices = (images: Images, clock: SimulatedClock, blockMs: number): SimulatedDevice[] =>
  images.map((image, i) => {
    const device = new SimulatedDevice(`copy${i}`, SIZES[i] as number, { image: image!, exclusive: false });
    const read = device.read.bind(device);
    device.read = async (offsetBytes, targets) => {
      if (offsetBytes >= MIB) await new Promise<void>((resolve) => clock.after(blockMs, resolve));
      return read(offsetBytes, targets);
    };
    return device;
  });

/** Slot 0 of copy 0's ring is damaged, and so are some of its blocks. */
async function damaged(): Promise<Images> {
  const { mounted } = await worked(SEED, await formattedNodes(SEED, SIZES), { steps: 10, bulkBytes: 2 * MIB });
  await unmount(mounted);
  const [first] = mounted.devices as [SimulatedDevice];
  const garbage = new Uint8Array(4096).fill(0xa5);
  first.image.write(NODE_HEADER_AREA_BYTES + slotOffsets(0, SIZES[0] as number)[0], garbage);
  for (let at = 2 * MIB; at < 3 * MIB; at += 128 * 1024) first.image.write(at, garbage);
  return imagesOf(mounted.devices);
}

it("a check that takes longer than a lease is followed by repairs, and nobody mounts meanwhile", async () => {
  const clock = new SimulatedClock();
  const devices = sharedDevices(await damaged(), clock, 4000);
  const copies = await within(clock, LONG_MS, copiesOf(SEED, devices, false, clock));
  const stranger = await within(clock, LONG_MS, copiesOf(SEED, devices, false, clock));
  // Every read is that slow: no copy is given up for it.
  copies.deadlineMs = LONG_MS;
  const startMs = clock.monotonicMs();
  // Each list holds one bad block: more than one round is needed.
  const work = fsckVolume({ copies, devices }, { force: true, repair: "safe", clock, keptPerKind: 1 });
  await clock.advance(5000);
  await expect(within(clock, LONG_MS, openVolume(stranger, { clock, commitMs: 0 }))).rejects.toThrow(/in use/);
  const outcome = await within(clock, LONG_MS, work);
  expect(clock.monotonicMs() - startMs).toBeGreaterThan(40_000);
  expect(outcome.findings.filter(({ name }) => name === "block-bad").length).toBeGreaterThan(0);
  expect(outcome.failures).toEqual([]);
  expect(outcome.left.filter(({ severity }) => severity !== "note")).toEqual([]);
  expect(copies.copies.map(({ failure }) => failure)).toEqual([undefined, undefined]);
  const next = await within(clock, LONG_MS, copiesOf(SEED, devices, false, clock));
  const volume = await within(clock, LONG_MS, openVolume(next, { clock, commitMs: 0 }));
  await within(clock, LONG_MS, volume.close());
  expect(await findings(SEED, imagesOf(devices))).toEqual([]);
});
