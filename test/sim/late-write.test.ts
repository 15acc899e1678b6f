// A write that a dropped copy still has under way may land at any later time: on a place that was given to something else
// when the copy came back before (trap 2). So a copy comes back only when every call of its earlier life is over,
// also when its device stays open because another copy lies on it.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { formatCopies } from "../../src/copies/layout.ts";
import { DeviceError } from "../../src/device/device.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { CheckType } from "../../src/format/check.ts";
import { KIB } from "../../src/format/geometry.ts";
import { formatVolume } from "../../src/volume/format-volume.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  findings,
  type Images,
  imagesOf,
  type Mounted,
  settle,
  targetOf,
  unmount,
  worked,
  type Workload,
} from "./copies-scene.ts";

const LATE_BYTES = 64 * KIB;

/** Copies 0 and 1 side by side on one device, copy 2 on another. */
async function sideBySide(seed: number): Promise<Images> {
  const random = new SeededRandom(seed);
  const devices = [new SimulatedDevice("copy0", 48 * MIB), new SimulatedDevice("copy1", 24 * MIB)];
  const volumeUuid = randomUuid(random);
  const identity = { volumeUuid, label: "simulated", random };
  const copies = await formatCopies(
    devices.map((device, i) => ({ ...targetOf(device), copies: 2 - i })),
    identity,
  );
  const clock = new SimulatedClock();
  const made = { ...identity, checkType: CheckType.XXH64, clock, uid: 0, gid: 0, commitMs: 0, cacheBytes: 16 * MIB };
  await (await formatVolume(copies, made)).close();
  return imagesOf(devices);
}

interface Scene {
  readonly mounted: Mounted;
  readonly work: Workload;
  /** Lets the write of the dropped copy 0 land. */
  readonly land: () => void;
}

/** Copy 0 was dropped while it had a write under way to a place that nothing names any more. */
async function dropped(seed: number): Promise<Scene> {
  const { work, mounted } = await worked(seed, await sideBySide(seed), { steps: 20 });
  await mounted.fs.sync();
  const { volume, copies } = mounted;
  let land = (): void => undefined;
  const until = new Promise<void>((resolve) => (land = resolve));
  mounted.devices[0]!.fail({ operation: "write", nth: 1, effect: { kind: "late", until } });
  // Where the next blocks of this size go.
  const kib = await volume.untilLoaded(() => volume.store.freemaps[0]!.reserve(LATE_BYTES / KIB));
  volume.store.freemaps[0]!.endReservation(kib, LATE_BYTES / KIB, false);
  void copies.copy(0)!.write(kib * KIB, [new Uint8Array(LATE_BYTES).fill(0xee)]);
  copies.giveUp(copies.copy(0)!, new DeviceError("copy0", "write", 0, "EIO"));
  await volume.barrier();
  expect(copies.copy(0)!.standing).toBe("faulted");
  await work.run(mounted.fs, 20);
  return { mounted, work, land };
}

describe("a write that lands late", () => {
  it("is waited for before its copy comes back", async () => {
    for (let seed = 900; seed < 904; seed++) {
      const { mounted, work, land } = await dropped(seed);
      let back = false;
      const returned = bringBack(mounted.volume, mounted.caretaker, 0).then(() => (back = true));
      for (let second = 0; second < 5; second++) await mounted.clock.advance(1000);
      expect(back, `seed ${seed}`).toBe(false);
      await work.run(mounted.fs, 10);
      land();
      await returned;
      await work.run(mounted.fs, 20);
      await settle(mounted);
      await unmount(mounted);
      expect(mounted.copies.copy(0)!.standing).toBe("in-sync");
      expect(await findings(seed, imagesOf(mounted.devices), { everyRoot: true }), `seed ${seed}`).toEqual([]);
    }
  });

  it("that does not land for long keeps its copy out, with a line that says so; it comes back later", async () => {
    const seed = 910;
    const { mounted, work, land } = await dropped(seed);
    const refused = bringBack(mounted.volume, mounted.caretaker, 0).then(
      () => "came back",
      (error: unknown) => String(error),
    );
    for (let second = 0; second < 11; second++) await mounted.clock.advance(1000);
    expect(await refused).toMatch(/copy0: calls on it are still under way; try again when its device answers/);
    expect(mounted.copies.copy(0)!.standing).toBe("faulted");
    land();
    await bringBack(mounted.volume, mounted.caretaker, 0);
    await settle(mounted);
    await work.run(mounted.fs, 5);
    await unmount(mounted);
    expect(mounted.copies.copy(0)!.standing).toBe("in-sync");
    expect(await findings(seed, imagesOf(mounted.devices), { everyRoot: true })).toEqual([]);
  });
});
