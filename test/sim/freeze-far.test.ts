// Freezing a copy on servers that other hosts may reach: its heartbeat stands still with it, and it is claimed anew before
// anything else is written (I11), whichever way it comes to be thawed. Nothing fails for that.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { assembleCopies } from "../../src/copies/assemble.ts";
import { LEASE_MS_DEFAULT } from "../../src/copies/in-use.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { NODE_HEADER_AREA_BYTES } from "../../src/format/geometry.ts";
import { HEARTBEAT_OFFSET_BYTES } from "../../src/format/heartbeat.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { openVolume } from "../../src/volume/open.ts";
import type { Volume } from "../../src/volume/volume.ts";
import { freeze, thaw } from "../../src/walk/freeze.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import { formattedRows } from "./copies-scene.ts";
import { Host, Network } from "./hosts.ts";
import { within } from "./virtual-time.ts";

const SEED = 4300;
const LONG_MS = 10 * LEASE_MS_DEFAULT;

interface Scene {
  readonly clock: SimulatedClock;
  readonly devices: readonly SimulatedDevice[];
  readonly volume: Volume;
  /** Makes a file, durably; and again much later. */
  goesOn(): Promise<void>;
}

/** One copy, a row of two nodes that are both far away. */
async function scene(): Promise<Scene> {
  const images = await formattedRows(SEED, [[16 * MIB, 18 * MIB]]);
  const devices = images.map((image, i) => new SimulatedDevice(`node${i}`, image!.sizeBytes, { image: image! }));
  const clock = new SimulatedClock();
  const network = new Network(clock, new SeededRandom(SEED), 5);
  const host = new Host("a", clock);
  const row = { name: "node0+node1", devices: devices.map((device) => network.attach(host, device)) };
  const copies = await within(clock, LONG_MS, assembleCopies([row], { clock }));
  const random = new SeededRandom(SEED + 1);
  const volume = await within(clock, LONG_MS, openVolume(copies, { clock, random, cacheBytes: 8 * MIB, commitMs: 0 }));
  const fs = new FileSystem(volume, clock);
  let files = 0;
  const make = async (): Promise<void> => {
    expect(await within(clock, LONG_MS, runStep(fs, { do: "create", at: [`file ${files++}`] }))).toBe("ok");
    await within(clock, LONG_MS, volume.barrier());
  };
  const goesOn = async (): Promise<void> => {
    expect(copies.frozen).toEqual([]);
    await make();
    for (let passedMs = 0; passedMs < 2 * LEASE_MS_DEFAULT; passedMs += 500) await clock.advance(500);
    await make();
    expect(volume.readOnly).toBeUndefined();
    await within(clock, LONG_MS, volume.close());
  };
  return { clock, devices, volume, goesOn };
}

function late(device: SimulatedDevice, atByte?: number): () => void {
  let answer = (): void => undefined;
  const until = new Promise<void>((resolve) => (answer = resolve));
  const effect = { kind: "late", until } as const;
  device.fail({ operation: "read", nth: 1, effect, ...(atByte !== undefined && { atByte }) });
  return answer;
}

async function pass(clock: SimulatedClock, durationMs: number): Promise<void> {
  for (let passedMs = 0; passedMs < durationMs; passedMs += 100) await clock.advance(100);
}

describe("a far copy that was frozen", () => {
  it("goes on with all its nodes when one of them is resumed: without the first there is no heartbeat", async () => {
    const { clock, volume, goesOn } = await scene();
    await within(clock, LONG_MS, freeze(volume, 0));
    await pass(clock, 3 * LEASE_MS_DEFAULT);
    await within(clock, LONG_MS, thaw(volume, 0, 1));
    await goesOn();
  });

  it("goes on when it could not be frozen in time, although its lease is over by then", async () => {
    const { clock, devices, volume, goesOn } = await scene();
    await pass(clock, LEASE_MS_DEFAULT / 4 - 500);
    await within(clock, LONG_MS, volume.forceCommit());
    const answer = late(devices[1]!);
    const read = volume.copies.copies[0]!.read(17 * MIB, [new Uint8Array(1024)]);
    await expect(within(clock, LONG_MS, freeze(volume, 0))).rejects.toThrow(/still under way/);
    await goesOn();
    answer();
    await within(clock, LONG_MS, read);
  });

  it("goes on although its heartbeat was half way when it was frozen", async () => {
    const { clock, devices, volume, goesOn } = await scene();
    const answer = late(devices[0]!, NODE_HEADER_AREA_BYTES + HEARTBEAT_OFFSET_BYTES);
    await pass(clock, LEASE_MS_DEFAULT / 4 + 100);
    await within(clock, LONG_MS, volume.forceCommit());
    const frozen = freeze(volume, 0);
    await pass(clock, 1000);
    answer();
    await within(clock, LONG_MS, frozen);
    await pass(clock, 3 * LEASE_MS_DEFAULT);
    await within(clock, LONG_MS, thaw(volume, 0));
    await goesOn();
  });
});
