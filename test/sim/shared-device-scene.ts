// A volume with several copies on one device.

import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { assembleCopies, type AssembleOptions } from "../../src/copies/assemble.ts";
import { formatCopies } from "../../src/copies/layout.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import type { SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { CheckType } from "../../src/format/check.ts";
import { formatVolume } from "../../src/volume/format-volume.ts";
import { MIB } from "../model/simulated-volume.ts";
import { type Mounted, mountOn, type MountOptions, targetOf } from "./copies-scene.ts";

export const SEED = 47;
export const COPY_BYTES = 25 * MIB;
const NAMES = ["disk", "other", "third"];

/** Images of devices with so many copies each: unless told otherwise a disk with copies 0 and 1, and another one with copy 2. */
export async function formatted(copiesEach: readonly number[] = [2, 1]): Promise<PagedImage[]> {
  const random = new SeededRandom(SEED);
  const devices = copiesEach.map((count, i) => new SimulatedDevice(NAMES[i] as string, count * COPY_BYTES));
  const volumeUuid = randomUuid(random);
  const targets = devices.map((device, i) => ({ ...targetOf(device), copies: copiesEach[i] as number }));
  const copies = await formatCopies(targets, { volumeUuid, label: "shared", random });
  const clock = new SimulatedClock();
  const given = { volumeUuid, label: "shared", checkType: CheckType.XXH64, random, clock, uid: 0, gid: 0, commitMs: 0 };
  const volume = await formatVolume(copies, given);
  await volume.close();
  return devices.map(({ image }) => image);
}

export interface SharedMount extends Mounted {
  readonly devices: readonly SimulatedDevice[];
}

/** Devices over these images, named as those of `formatted`; what is written to the first one is noted by `disk`. */
export const devicesOver = (images: readonly PagedImage[], disk?: SimulatedDisk): SimulatedDevice[] =>
  images.map((image, i) => {
    const own = i === 0 && disk !== undefined ? { image, disk } : { image };
    return new SimulatedDevice(NAMES[i] as string, image.sizeBytes, own);
  });

/** A mount of such devices that goes on as long as one copy is in sync. */
export async function mounted(
  images: readonly PagedImage[],
  options: MountOptions = {},
  disk?: SimulatedDisk,
  seed = SEED,
  assembling: AssembleOptions = {},
): Promise<SharedMount> {
  const devices = devicesOver(images, disk);
  const copies = await assembleCopies(devices.map(targetOf), { clock: new SimulatedClock(), ...assembling });
  const mount = await mountOn(seed, devices, copies, options);
  await mount.caretaker.settled();
  await mount.volume.changeMembers(() => mount.volume.members.changeMinCopies(1));
  return { ...mount, devices };
}
