// A volume on simulated copies that may be lost and returned, a model beside it that does the same work, and the ways to
// compare them: through the mount, through fsck, and from each copy alone.

import { expect } from "vitest";
import { bitCount } from "../../src/base/bits.ts";
import { checkVolume } from "../../fsck/check.ts";
import type { Finding } from "../../fsck/finding-list.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { Copy, CopySet } from "../../src/copies/copy-set.ts";
import { assembleCopies } from "../../src/copies/assemble.ts";
import { formatCopies } from "../../src/copies/layout.ts";
import type { OpenTarget } from "../../src/copies/targets.ts";
import { CheckType } from "../../src/format/check.ts";
import { hasNodeHeaderMagic, NODE_HEADER_BYTES } from "../../src/format/node-header.ts";
import { formatVolume } from "../../src/volume/format-volume.ts";
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
import { randomStep, runStep, type Step } from "../model/workload.ts";
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

function hasHeader(device: SimulatedDevice): boolean {
  const bytes = new Uint8Array(NODE_HEADER_BYTES);
  device.image.read(0, bytes);
  return hasNodeHeaderMagic(bytes);
}

export const targetOf = (device: SimulatedDevice): OpenTarget => ({ name: device.name, devices: [device] });

/** The copies of `seed`'s volume over images, undefined for those that are missing. */
export async function copiesOf(
  seed: number,
  devices: readonly (SimulatedDevice | undefined)[],
  readOnly = false,
  clock = new SimulatedClock(),
): Promise<CopySet> {
  const present = devices.filter((device) => device !== undefined);
  if (present.some(hasHeader)) return assembleCopies(present.map(targetOf), { readOnly, clock });
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

export type MountOptions = Partial<OpenOptions> & { readonly start?: boolean; readonly stopAfterSteps?: number };

/** Opens what is there and begins to catch up whatever is not in sync. `seed` also draws the epochs it may begin. */
export async function mount(
  seed: number,
  images: Images,
  options: MountOptions & { readonly disk?: SimulatedDisk } = {},
  identitySeed = seed,
): Promise<Mounted> {
  const devices = devicesOver(images, options.disk);
  return mountOn(seed, devices, await copiesOf(identitySeed, devices), options);
}

/** As `mount`, on devices and the copies made of them. */
export async function mountOn(
  seed: number,
  devices: readonly (SimulatedDevice | undefined)[],
  copies: CopySet,
  options: MountOptions = {},
): Promise<Mounted> {
  const clock = copies.clock as SimulatedClock;
  const volume = await openVolume(copies, {
    clock,
    commitMs: 0,
    cacheBytes: 16 * MIB,
    random: new SeededRandom(seed + devices.reduce((mask, device, i) => mask + (device === undefined ? 0 : 7 << i), 1)),
    ...options,
  });
  if (options.stopAfterSteps !== undefined) stopAfter(volume, options.stopAfterSteps, () => void caretaker.close());
  const notes: string[] = [];
  const caretaker = new Caretaker(volume, { clock, onNote: (line) => notes.push(line) });
  if (options.start !== false) caretaker.start();
  return { clock, devices, copies, volume, fs: new FileSystem(volume, clock), caretaker, notes };
}

/** A volume on `images` after `steps` steps of work and, if asked for, with a file "bulk" of `bulkBytes`. */
export async function worked(
  seed: number,
  images: Images,
  given: { readonly steps: number; readonly maxBytes?: number; readonly bulkBytes?: number },
  options: Parameters<typeof mount>[2] = {},
): Promise<{ readonly work: Workload; readonly mounted: Mounted }> {
  const work = new Workload(seed, given.maxBytes ?? 200_000);
  const mounted = await mount(seed, images, options);
  await work.begin(mounted.fs);
  await work.run(mounted.fs, given.steps);
  if (given.bulkBytes !== undefined) await bulk(work, mounted.fs, "bulk", given.bulkBytes);
  return { work, mounted };
}

/** Calls `stop` after the n-th step that moves blocks. */
function stopAfter(volume: Volume, steps: number, stop: () => void): void {
  const maintain = volume.maintain.bind(volume);
  let left = steps;
  volume.maintain = async (body) => {
    const result = await maintain(body);
    if (--left === 0) stop();
    return result;
  };
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

/** As `formatted`, on devices with node headers, so that copies may come and go. */
export function formattedNodes(seed: number, sizesBytes: readonly number[]): Promise<Images> {
  return formattedRows(
    seed,
    sizesBytes.map((sizeBytes) => [sizeBytes]),
  );
}

/** As `formattedNodes`, each copy a row of nodes of these sizes; the images are those of all nodes, one after the other. */
export async function formattedRows(seed: number, sizesBytes: readonly (readonly number[])[]): Promise<Images> {
  const random = new SeededRandom(seed);
  const devices: SimulatedDevice[] = [];
  const targets = sizesBytes.map((sizes) => {
    const nodes = sizes.map((sizeBytes, i) => new SimulatedDevice(`copy${devices.length + i}`, sizeBytes));
    devices.push(...nodes);
    return { name: nodes.map(({ name }) => name).join("+"), devices: nodes, copies: 1 };
  });
  const volumeUuid = randomUuid(random);
  const copies = await formatCopies(targets, { volumeUuid, label: "simulated", random });
  const volume = await formatVolume(copies, {
    volumeUuid,
    label: "simulated",
    checkType: CheckType.XXH64,
    random,
    clock: new SimulatedClock(),
    uid: 0,
    gid: 0,
    commitMs: 0,
    cacheBytes: 16 * MIB,
  });
  await volume.close();
  return imagesOf(devices);
}

/** What fsck says of the images, notes left out. */
export async function findings(seed: number, images: Images, options = {}): Promise<readonly Finding[]> {
  const found = await checkVolume(await copiesOf(seed, devicesOver(images), true), options);
  return found.filter(({ severity }) => severity !== "note");
}

/** The whole tree as text, read from the images given and no others. */
export async function treeOf(seed: number, images: Images, options: Partial<OpenOptions> = {}): Promise<string> {
  const { fs } = await mount(seed, images, { ...options, readOnly: true, start: false });
  return (await describeFileSystem(fs)).join("\n");
}

/** Each copy alone holds the whole tree. */
export async function eachAlone(seed: number, images: Images, tree: string): Promise<void> {
  for (const [only, image] of images.entries()) {
    if (image === undefined) continue;
    const lone = images.map((_, i) => (i === only ? image : undefined));
    expect(await treeOf(seed, lone, { degraded: true }), `from copy ${only} alone`).toBe(tree);
  }
}

/** After an unmount: all copies are in sync, the checker finds nothing (by any root), and each alone holds everything. */
export async function togetherAgain(
  seed: number,
  mounted: Mounted,
  work: Workload,
  { everyRoot = true } = {},
): Promise<void> {
  const { inSync } = mounted.volume.members;
  expect(bitCount(inSync), `seed ${seed}: ${mounted.notes.join("\n")}`).toBe(mounted.devices.length);
  const images = imagesOf(mounted.devices);
  expect(await findings(seed, images, { everyRoot }), `seed ${seed}`).toEqual([]);
  await eachAlone(seed, images, await work.tree());
}

/** Waits for the caretaker; time passes for what waits for it. */
export async function settle({ caretaker }: Mounted): Promise<void> {
  await caretaker.settled();
}

/** A file of `sizeBytes` on the mount and in the model. */
export async function bulk(work: Workload, fs: FileSystem, name: string, sizeBytes: number): Promise<void> {
  const steps: Step[] = [{ do: "create", at: [name] }];
  for (let offset = 0; offset < sizeBytes; offset += MIB) {
    steps.push({ do: "write", at: [name], offset, length: Math.min(MIB, sizeBytes - offset), fill: offset / MIB });
  }
  for (const step of [...steps, { do: "sync" } as const]) {
    for (const each of [fs, work.model]) expect(await runStep(each, step)).toBe("ok");
  }
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

  /**
   * Throws when the mount answers otherwise than the model. `someAway`: what a step would have to read may lie on copies that
   * are away; then it is EIO and changes nothing.
   */
  async run(fs: FileSystem, steps: number, { someAway = false } = {}): Promise<void> {
    for (let i = 0; i < steps; i++) {
      const step = randomStep(this.#random, this.#maxBytes);
      const got = await runStep(fs, step);
      if (someAway && got === "EIO") continue;
      const wanted = await runStep(this.model, step);
      if (got !== wanted) throw new Error(`step ${i} ${JSON.stringify(step)}: ${got}, the model says ${wanted}`);
    }
  }

  async tree(): Promise<string> {
    return (await describeFileSystem(this.model)).join("\n");
  }
}
