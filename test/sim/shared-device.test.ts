// Several copies on one device (I2): the system tells a failed flush once, to whoever asks first, and calls the pages that it lost
// clean. No copy on the device may take that for its own success: what was acknowledged is there after a power cut.

import { describe, expect, it } from "vitest";
import { assembleCopies } from "../../src/copies/assemble.ts";
import { formatCopies } from "../../src/copies/layout.ts";
import { DeviceError } from "../../src/device/device.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { Range, SharedDevice } from "../../src/device/range.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { CheckType } from "../../src/format/check.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { Journal, RECORD_BYTES_MAX } from "../../src/log/journal.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { formatVolume } from "../../src/volume/format-volume.ts";
import { openVolume } from "../../src/volume/open.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { Caretaker } from "../../src/walk/caretaker.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import { targetOf } from "./copies-scene.ts";

const DISK_BYTES = 50 * MIB;

/** A volume with both of its copies on one disk. */
async function formattedTwice(seed: number): Promise<PagedImage> {
  const random = new SeededRandom(seed);
  const device = new SimulatedDevice("disk", DISK_BYTES);
  const volumeUuid = randomUuid(random);
  const copies = await formatCopies([{ ...targetOf(device), copies: 2 }], { volumeUuid, label: "twice", random });
  const clock = new SimulatedClock();
  const given = { volumeUuid, label: "twice", checkType: CheckType.XXH64, random, clock, uid: 0, gid: 0, commitMs: 0 };
  const volume = await formatVolume(copies, given);
  await volume.close();
  return device.image;
}

async function mounted(device: SimulatedDevice, journal?: Journal): Promise<FileSystem> {
  const clock = new SimulatedClock();
  const copies = await assembleCopies([targetOf(device)], { clock });
  const volume = await openVolume(copies, { clock, commitMs: 0, ...(journal && { journal }) });
  return new FileSystem(volume, clock);
}

describe("two copies on one device", () => {
  for (const logged of [true, false]) {
    it(`nothing is acknowledged that a failed flush lost (${logged ? "with" : "without"} a log)`, async () => {
      const image = await formattedTwice(41);
      let refused = 0;
      for (let nth = 1; nth <= 12; nth++) {
        const disk = new SimulatedDisk();
        const device = new SimulatedDevice("disk", DISK_BYTES, { image, disk });
        const fs = await mounted(device, logged ? new Journal(new Uint8Array(3 * RECORD_BYTES_MAX)) : undefined);
        device.fail({ operation: "flush", nth, effect: { kind: "error", code: "EIO" } });
        const acknowledged: string[] = [];
        for (let i = 0; i < 4; i++) {
          await runStep(fs, { do: "create", at: [`file${i}`] });
          await runStep(fs, { do: "write", at: [`file${i}`], offset: 0, length: 70_000, fill: i });
          const tree = await describeFileSystem(fs);
          if ((await runStep(fs, { do: "sync" })) === "ok") acknowledged.splice(0, Infinity, ...tree);
          else refused++;
        }
        const cut = new CrashPoint(disk, 0);
        cut.advanceTo(disk.events.length);
        const after = await mounted(new SimulatedDevice("disk", DISK_BYTES, { image: cut.image([]) }));
        expect(await describeFileSystem(after), `flush ${nth}`).toEqual(expect.arrayContaining(acknowledged.slice(1)));
      }
      expect(refused).toBeGreaterThan(0);
    });
  }
});

it("a flush that failed while copies on a device were out does not drop them again when they come back", async () => {
  const random = new SeededRandom(43);
  const [disk, other] = [new SimulatedDevice("disk", DISK_BYTES), new SimulatedDevice("other", 25 * MIB)];
  const volumeUuid = randomUuid(random);
  const targets = [
    { ...targetOf(disk), copies: 2 },
    { ...targetOf(other), copies: 1 },
  ];
  const copies = await formatCopies(targets, { volumeUuid, label: "twice", random });
  const clock = new SimulatedClock();
  const given = { volumeUuid, label: "twice", checkType: CheckType.XXH64, random, clock, uid: 0, gid: 0, commitMs: 0 };
  const volume = await formatVolume(copies, given);
  const caretaker = new Caretaker(volume, { clock });
  await volume.changeMembers(() => volume.members.changeMinCopies(1));
  await takeOut(volume, caretaker, 1, { lasting: false });
  disk.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
  await runStep(new FileSystem(volume, clock), { do: "create", at: ["file"] });
  await volume.forceCommit();
  expect(volume.members.inSync).toBe(0b100);
  const again = new SimulatedDevice("disk", DISK_BYTES, { image: disk.image });
  Object.assign(copies, { open: () => Promise.resolve(again) });
  for (const index of [1, 0]) await bringBack(volume, caretaker, index);
  await caretaker.settled();
  expect(volume.members.inSync).toBe(0b111);
  await caretaker.close();
  await volume.close();
});

describe("a flush of a range", () => {
  const MIDDLE = 1 * MIB;

  /** Two ranges of a device whose flushes end when the test says how. */
  function scene() {
    const device = new SimulatedDevice("disk", 2 * MIB);
    const ends: ((error?: Error) => void)[] = [];
    device.flush = () =>
      new Promise((resolve, reject) => ends.push((error) => (error === undefined ? resolve() : reject(error))));
    const shared = new SharedDevice(device);
    const ranges = [new Range(shared, 0, MIDDLE), new Range(shared, MIDDLE, MIDDLE)] as const;
    return { shared, ranges, ends };
  }
  const lost = new DeviceError("disk", "flush", 0, "EIO");

  it("that succeeds beside one that fails has failed, whichever is back first", async () => {
    for (const order of [
      [0, 1],
      [1, 0],
    ]) {
      const { ranges, ends } = scene();
      const flushes = Promise.allSettled(ranges.map((range) => range.flush()));
      for (const i of order) {
        ends[i]?.(i === 0 ? lost : undefined);
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect((await flushes).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    }
  });

  it("that failed for one is told to each once, and to none that is opened later", async () => {
    const { shared, ranges, ends } = scene();
    const flush = async (range: Range, error?: Error): Promise<void> => {
      const done = range.flush();
      ends.pop()?.(error);
      await done;
    };
    await expect(flush(ranges[0], lost)).rejects.toBe(lost);
    const later = new Range(shared, 0, MIDDLE);
    await expect(flush(ranges[1])).rejects.toBe(lost);
    for (const range of [...ranges, later]) await expect(flush(range)).resolves.toBeUndefined();
  });
});
