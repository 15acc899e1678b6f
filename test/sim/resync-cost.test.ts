// What a resync costs follows what has changed while the copy was away, not how much the volume holds (I8): counted in bytes
// that the simulated devices were asked for, so that the same run always gives the same figures.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import {
  bulk,
  eachAlone,
  formatted,
  formattedNodes,
  type Images,
  imagesOf,
  mount,
  targetOf,
  unmount,
  Workload,
} from "./copies-scene.ts";

const SEED = 5;
const BLOCK_BYTES = 65_536;
const FILE_BYTES = 4 * MIB;

interface Cost {
  /** Bytes read from all devices, and written to all. */
  readonly read: number;
  readonly written: number;
}

function total(devices: readonly (SimulatedDevice | undefined)[]): Cost {
  const sum = (kind: "read" | "write"): number =>
    devices.reduce((bytes, device) => bytes + (device?.bytes[kind] ?? 0), 0);
  return { read: sum("read"), written: sum("write") };
}

const since = (now: Cost, then: Cost): Cost => ({ read: now.read - then.read, written: now.written - then.written });

async function filled(images: Images, dataBytes: number, work: Workload): Promise<Images> {
  const mounted = await mount(SEED, images);
  for (let i = 0; i * FILE_BYTES < dataBytes; i++) await bulk(work, mounted.fs, `f${i}`, FILE_BYTES);
  await unmount(mounted);
  return imagesOf(mounted.devices);
}

/** Changes `changedBytes` in whole blocks all over `dataBytes` while copy 1 is away; what catching it up costs then. */
async function changeAndReturn(dataBytes: number, changedBytes: number): Promise<Cost> {
  const random = new SeededRandom(SEED);
  const work = new Workload(SEED, 1);
  const sizes = [dataBytes * 1.5 + 16 * MIB, dataBytes * 1.5 + 16 * MIB];
  const together = await filled(await formatted(SEED, sizes), dataBytes, work);
  const apart = await mount(SEED, [together[0], undefined], { degraded: true });
  const blocks = new Set<number>();
  while (blocks.size < changedBytes / BLOCK_BYTES) blocks.add(random.below(dataBytes / BLOCK_BYTES));
  for (const block of blocks) {
    const at = [`f${Math.floor((block * BLOCK_BYTES) / FILE_BYTES)}`];
    const offset = (block * BLOCK_BYTES) % FILE_BYTES;
    for (const fs of [apart.fs, work.model]) {
      expect(await runStep(fs, { do: "write", at, offset, length: BLOCK_BYTES, fill: 99 })).toBe("ok");
    }
  }
  await unmount(apart);
  const mounted = await mount(SEED, [imagesOf(apart.devices)[0], together[1]], { start: false });
  const before = total(mounted.devices);
  mounted.caretaker.start();
  await mounted.caretaker.settled();
  const cost = since(total(mounted.devices), before);
  await unmount(mounted);
  expect(mounted.volume.members.inSync).toBe(0b11);
  await eachAlone(SEED, imagesOf(mounted.devices), await work.tree());
  return cost;
}

/** What bringing everything to a new copy costs. */
async function attachBlank(dataBytes: number): Promise<Cost> {
  const sizeBytes = dataBytes * 1.5 + 16 * MIB;
  const images = await filled(await formattedNodes(SEED, [sizeBytes]), dataBytes, new Workload(SEED, 1));
  const mounted = await mount(SEED, images);
  const device = new SimulatedDevice("new", sizeBytes);
  const before = total([...mounted.devices, device]);
  await mounted.caretaker.attach(targetOf(device), { random: new SeededRandom(SEED + 1) });
  await mounted.caretaker.settled();
  const cost = since(total([...mounted.devices, device]), before);
  await unmount(mounted);
  expect(mounted.volume.members.inSync).toBe(0b11);
  return cost;
}

const inKib = ({ read, written }: Cost): string =>
  `${Math.round(read / 1024)} KiB read, ${Math.round(written / 1024)} KiB written`;

describe("what a resync reads and writes", () => {
  it("is a small multiple of what has changed, whatever the volume holds (I8)", async () => {
    const changedBytes = 20 * BLOCK_BYTES;
    const small = await changeAndReturn(32 * MIB, changedBytes);
    const large = await changeAndReturn(128 * MIB, changedBytes); // 1 %
    console.log(`1280 KiB changed of 32 MiB: ${inKib(small)}; of 128 MiB: ${inKib(large)}`);
    for (const cost of [small, large]) {
      expect(cost.read).toBeGreaterThanOrEqual(changedBytes);
      expect(cost.written).toBeGreaterThanOrEqual(changedBytes);
      expect(cost.read).toBeLessThan(2 * changedBytes);
      expect(cost.written).toBeLessThan(2 * changedBytes);
    }
    expect(large.read).toBeLessThan(1.3 * small.read);
    expect(large.written).toBeLessThan(1.3 * small.written);
  });

  it("is a fraction of what a new copy costs", async () => {
    const dataBytes = 32 * MIB;
    const full = await attachBlank(dataBytes);
    const part = await changeAndReturn(dataBytes, Math.ceil(dataBytes / 100 / BLOCK_BYTES) * BLOCK_BYTES);
    console.log(`32 MiB, new copy: ${inKib(full)}; 1 % changed: ${inKib(part)}`);
    expect(full.written).toBeGreaterThanOrEqual(dataBytes);
    expect(part.read).toBeLessThan(full.read / 20);
    expect(part.written).toBeLessThan(full.written / 20);
  });
});
