// A volume on devices in memory, with a filesystem on it that can be remounted: what tests of ops and posix work on.

import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import type { CopySet } from "../../src/copies/copy-set.ts";
import { formatCopies } from "../../src/copies/layout.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { CheckType } from "../../src/format/check.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { formatVolume } from "../../src/volume/format-volume.ts";
import { openVolume } from "../../src/volume/open.ts";
import type { Volume } from "../../src/volume/volume.ts";
import { checkVolume } from "../../fsck/check.ts";

export interface MemoryVolumeOptions {
  /** Size of each copy. */
  readonly sizesMib?: readonly number[];
  readonly cacheBytes?: number;
}

export class MemoryVolume {
  readonly clock = new SimulatedClock();
  readonly copies: CopySet;
  readonly #cacheBytes: number;
  volume: Volume;
  fs: FileSystem;

  private constructor(copies: CopySet, volume: Volume, cacheBytes: number) {
    this.copies = copies;
    this.volume = volume;
    this.#cacheBytes = cacheBytes;
    this.fs = new FileSystem(volume, this.clock);
  }

  static async format(options: MemoryVolumeOptions = {}): Promise<MemoryVolume> {
    const sizesMib = options.sizesMib ?? [64, 48];
    const cacheBytes = options.cacheBytes ?? 64 << 20;
    const random = new SeededRandom(1);
    const volumeUuid = randomUuid(random);
    const targets = sizesMib.map((mib, i) => {
      const name = `copy${i}`;
      return { name, devices: [new SimulatedDevice(name, mib * 1024 * 1024)], copies: 1 };
    });
    const copies = await formatCopies(targets, { volumeUuid, label: "", random });
    const clock = new SimulatedClock();
    const checkType = CheckType.XXH64;
    const options2 = { volumeUuid, label: "", checkType, random, uid: 0, gid: 0, clock, cacheBytes, commitMs: 0 };
    const volume = await formatVolume(copies, options2);
    const made = new MemoryVolume(copies, volume, cacheBytes);
    await made.remount();
    return made;
  }

  async unmount(): Promise<void> {
    await this.fs.close();
    await this.volume.close();
  }

  /** Commits everything and begins anew with an empty cache. */
  async remount(): Promise<void> {
    await this.unmount();
    await this.crash();
  }

  /** Begins anew from what was committed last, as after a power cut. */
  async crash(): Promise<void> {
    this.volume = await openVolume(this.copies, { clock: this.clock, cacheBytes: this.#cacheBytes, commitMs: 0 });
    this.fs = new FileSystem(this.volume, this.clock);
  }

  /** What the checker says of the volume as it was last committed, notes left out. */
  async findings(): Promise<string[]> {
    const found = await checkVolume(this.copies);
    return found.filter(({ severity }) => severity !== "note").map(({ message }) => message);
  }
}
