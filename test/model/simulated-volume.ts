// A volume on simulated devices, opened and formatted the way the tools do it, for tests that need many of them.

import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { Copy, CopySet } from "../../src/copies/copy-set.ts";
import type { BlockDevice } from "../../src/device/device.ts";
import { PagedImage } from "../../src/device/paged-image.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import type { SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { CheckType } from "../../src/format/check.ts";
import { Journal, RECORD_BYTES_MAX } from "../../src/log/journal.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { formatVolume } from "../../src/volume/format-volume.ts";
import { type OpenOptions, openVolume } from "../../src/volume/open.ts";
import { newestRoot } from "../../src/copies/choose-root.ts";
import { readRings, type RingRoot } from "../../src/copies/ring.ts";
import type { Volume } from "../../src/volume/volume.ts";

export const MIB = 1024 * 1024;
/** As small as a journal may be. */
export const JOURNAL_BYTES = 3 * RECORD_BYTES_MAX;
let openings = 0;

/** Identities of the copies and of the volume depend on the seed alone, so images of one seed belong together. */
export class SimulatedVolume {
  readonly clock = new SimulatedClock();
  readonly devices: SimulatedDevice[];
  readonly copies: CopySet;
  volume!: Volume;
  fs!: FileSystem;
  /** What outlives a process that is killed; none where nothing is logged. */
  journal: Uint8Array | undefined;
  readonly #seed: number;

  private constructor(seed: number, devices: SimulatedDevice[]) {
    this.#seed = seed;
    this.devices = devices;
    const random = new SeededRandom(seed);
    const volumeUuid = randomUuid(random);
    this.copies = new CopySet(
      devices.map((device: BlockDevice, i) => new Copy(i, randomUuid(random), device, [device.name])),
      { volumeUuid, clock: this.clock },
    );
  }

  /** Formats copies of the given sizes. */
  static async format(seed: number, sizesBytes: readonly number[], disk?: SimulatedDisk): Promise<SimulatedVolume> {
    const options = disk === undefined ? {} : { disk };
    const devices = sizesBytes.map((size, i) => new SimulatedDevice(`copy${i}`, size, options));
    const made = new SimulatedVolume(seed, devices);
    made.volume = await formatVolume(made.copies, {
      volumeUuid: made.copies.volumeUuid,
      label: "simulated",
      checkType: CheckType.XXH64,
      random: new SeededRandom(seed + 1),
      clock: made.clock,
      uid: 0,
      gid: 0,
      commitMs: 0,
      cacheBytes: 16 * MIB,
    });
    made.fs = new FileSystem(made.volume, made.clock);
    return made;
  }

  /** Opens copies that hold what was formatted with the same seed. */
  static async open(
    seed: number,
    images: readonly PagedImage[],
    disk?: SimulatedDisk,
    cacheBytes = 16 * MIB,
    logged = true,
  ): Promise<SimulatedVolume> {
    const devices = images.map(
      (image, i) => new SimulatedDevice(`copy${i}`, image.sizeBytes, disk === undefined ? { image } : { image, disk }),
    );
    const made = new SimulatedVolume(seed, devices);
    if (logged) made.journal = new Uint8Array(JOURNAL_BYTES);
    await made.#open(cacheBytes);
    return made;
  }

  /**
   * What a new process finds after this one was killed: the devices with all that was written, flushed or not, and the journal.
   * This one must not be used any more.
   */
  async takeOver(): Promise<SimulatedVolume> {
    const made = new SimulatedVolume(
      this.#seed,
      this.devices.map(({ name, image }) => new SimulatedDevice(name, image.sizeBytes, { image: image.copy() })),
    );
    made.journal = this.journal?.slice();
    await made.#open(16 * MIB, true);
    return made;
  }

  /** The devices as they are now, as if the power had gone just after all that was written had reached them; not opened. */
  atRest(): SimulatedVolume {
    return new SimulatedVolume(
      this.#seed,
      this.devices.map(({ name, image }) => new SimulatedDevice(name, image.sizeBytes, { image: image.copy() })),
    );
  }

  /** Opens a volume at rest. */
  async reopened(options: Partial<OpenOptions> = {}): Promise<SimulatedVolume> {
    this.journal = new Uint8Array(JOURNAL_BYTES);
    await this.#open(16 * MIB, false, options);
    return this;
  }

  /** Of a volume at rest. */
  async newestRoot(): Promise<RingRoot> {
    const newest = newestRoot((await readRings(this.copies)).rings);
    if (newest === undefined) throw new Error("no root");
    return newest.root;
  }

  async #open(cacheBytes: number, takeOver = false, options: Partial<OpenOptions> = {}): Promise<void> {
    const logged = this.journal !== undefined && { journal: new Journal(this.journal), takeOver };
    // No two openings share ids of epochs and logs.
    const random = new SeededRandom(this.#seed + 2 + ++openings);
    this.volume = await openVolume(this.copies, {
      clock: this.clock,
      commitMs: 0,
      cacheBytes,
      random,
      ...logged,
      ...options,
    });
    this.fs = new FileSystem(this.volume, this.clock);
  }

  /** The copies as they are now, opened anew: what a clean unmount and mount does. */
  async remount(cacheBytes = 16 * MIB, disk?: SimulatedDisk, logged = true): Promise<SimulatedVolume> {
    await this.volume.close();
    return SimulatedVolume.open(
      this.#seed,
      this.devices.map((device) => device.image),
      disk,
      cacheBytes,
      logged,
    );
  }
}
