// A volume on simulated copies that may be lost and returned, a model beside it that does the same work, and the ways to
// compare them: through the mount, through fsck, and from each copy alone.

import { checkVolume } from "../../fsck/check.ts";
import type { Finding } from "../../fsck/finding-list.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { Copy, CopySet } from "../../src/copies/copy-set.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import type { SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { type OpenOptions, openVolume } from "../../src/volume/open.ts";
import type { Volume } from "../../src/volume/volume.ts";
import { Caretaker } from "../../src/walk/caretaker.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { randomStep, runStep } from "../model/workload.ts";
import { MemoryFileSystem } from "../mount/memory-filesystem.ts";

export type Images = readonly (PagedImage | undefined)[];

export interface Mounted {
  readonly clock: SimulatedClock;
  readonly devices: readonly (SimulatedDevice | undefined)[];
  readonly copies: CopySet;
  readonly volume: Volume;
  readonly fs: FileSystem;
  readonly caretaker: Caretaker;
  readonly notes: string[];
}

/** The copies of `seed`'s volume over images, undefined for those that are missing. */
export function copiesOf(
  seed: number,
  devices: readonly (SimulatedDevice | undefined)[],
  readOnly = false,
  clock = new SimulatedClock(),
): CopySet {
  const random = new SeededRandom(seed);
  const volumeUuid = randomUuid(random);
  const copies = devices.map((device, i) => {
    const uuid = randomUuid(random);
    return device === undefined ? undefined : new Copy(i, uuid, device, [device.name]);
  });
  return new CopySet(
    copies.filter((copy) => copy !== undefined),
    { volumeUuid, readOnly, clock },
  );
}

export function devicesOver(images: Images, disk?: SimulatedDisk): (SimulatedDevice | undefined)[] {
  return images.map((image, i) =>
    image === undefined
      ? undefined
      : new SimulatedDevice(`copy${i}`, image.sizeBytes, disk === undefined ? { image } : { image, disk }),
  );
}

export const imagesOf = (devices: readonly (SimulatedDevice | undefined)[]): Images =>
  devices.map((device) => device?.image);

/** Opens what is there and begins to catch up whatever is not in sync. */
export async function mount(
  seed: number,
  images: Images,
  options: Partial<OpenOptions> & { readonly disk?: SimulatedDisk; readonly start?: boolean } = {},
): Promise<Mounted> {
  const clock = new SimulatedClock();
  const devices = devicesOver(images, options.disk);
  const copies = copiesOf(seed, devices, false, clock);
  const volume = await openVolume(copies, {
    clock,
    commitMs: 0,
    cacheBytes: 16 * MIB,
    random: new SeededRandom(seed + images.reduce((mask, image, i) => mask + (image === undefined ? 0 : 7 << i), 1)),
    ...options,
  });
  const notes: string[] = [];
  const caretaker = new Caretaker(volume, { clock, onNote: (line) => notes.push(line) });
  if (options.start !== false) caretaker.start();
  return { clock, devices, copies, volume, fs: new FileSystem(volume, clock), caretaker, notes };
}

export async function unmount({ volume, caretaker }: Mounted): Promise<void> {
  await caretaker.close();
  await volume.close();
}

/** Formats and gives the images. */
export async function formatted(seed: number, sizesBytes: readonly number[]): Promise<Images> {
  const made = await SimulatedVolume.format(seed, sizesBytes);
  await made.volume.close();
  return imagesOf(made.devices);
}

/** What fsck says of the images, notes left out. */
export async function findings(seed: number, images: Images, options = {}): Promise<readonly Finding[]> {
  const found = await checkVolume(copiesOf(seed, devicesOver(images), true), options);
  return found.filter(({ severity }) => severity !== "note");
}

/** The whole tree as text, read from the images given and no others. */
export async function treeOf(seed: number, images: Images, options: Partial<OpenOptions> = {}): Promise<string> {
  const { fs } = await mount(seed, images, { ...options, readOnly: true, start: false });
  return (await describeFileSystem(fs)).join("\n");
}

/** Random work done on a mount and on the model alike. */
export class Workload {
  readonly model = new MemoryFileSystem(new SimulatedClock());
  readonly #random: SeededRandom;
  readonly #maxBytes: number;

  constructor(seed: number, maxBytes: number) {
    this.#random = new SeededRandom(seed ^ 0x77);
    this.#maxBytes = maxBytes;
  }

  /** Makes the folders that the steps work in. */
  async begin(fs: FileSystem): Promise<void> {
    for (const each of [fs, this.model]) {
      for (const name of ["a", "b"]) await runStep(each, { do: "mkdir", at: [name] });
    }
  }

  /** Throws when the mount answers otherwise than the model. */
  async run(fs: FileSystem, steps: number): Promise<void> {
    for (let i = 0; i < steps; i++) {
      const step = randomStep(this.#random, this.#maxBytes);
      const [got, wanted] = [await runStep(fs, step), await runStep(this.model, step)];
      if (got !== wanted) throw new Error(`step ${i} ${JSON.stringify(step)}: ${got}, the model says ${wanted}`);
    }
  }

  async tree(): Promise<string> {
    return (await describeFileSystem(this.model)).join("\n");
  }
}
