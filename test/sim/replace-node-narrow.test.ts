// A node of a row that holds file data under copies=K moves to another device: what was on it alone is on another copy before
// (I1, I5). Where that can't be, the node stays; and a new device that did not become the node is none for anybody.

import { afterEach, expect, it, vi } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { CopiesError } from "../../src/copies/errors.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { hasNodeHeaderMagic, NODE_HEADER_BYTES } from "../../src/format/node-header.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { replaceNode } from "../../src/walk/replace-node.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import {
  bulk,
  findings,
  formattedRows,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  settle,
  targetOf,
  treeOf,
  unmount,
  Workload,
} from "./copies-scene.ts";
import { rightOrGone, setCopies } from "./narrow-scene.ts";

afterEach(() => vi.restoreAllMocks());

const COPY = 1;

/** Copy 0 on one device, copy 1 on two, and files of which each lies on one copy: some of them on either node. */
async function narrowRows(seed: number, files = 24, rows = [[40 * MIB], [9 * MIB, 28 * MIB]]) {
  const mounted = await mount(seed, await formattedRows(seed, rows));
  const work = new Workload(seed, 100_000);
  await setCopies(mounted.fs, "", 1);
  await work.begin(mounted.fs);
  for (let i = 0; i < files; i++) await bulk(work, mounted.fs, `narrow${i}`, MIB);
  await mounted.volume.forceCommit();
  return { work, mounted };
}

function replace({ volume, caretaker }: Mounted, position: number, device: SimulatedDevice): Promise<void> {
  return replaceNode(volume, caretaker, { index: COPY, position }, targetOf(device), new SeededRandom(position + 5));
}

const withNew = (images: Images, position: number, { image }: SimulatedDevice): Images =>
  images.map((old, i) => (i === 1 + position ? image : old));

function hasHeader({ image }: SimulatedDevice): boolean {
  const bytes = new Uint8Array(NODE_HEADER_BYTES);
  image.read(0, bytes);
  return hasNodeHeaderMagic(bytes);
}

for (const position of [0, 1]) {
  it(`node ${position}: what it alone holds, and gets while it is replaced, is there afterwards`, async () => {
    const seed = 6500 + position;
    const { work, mounted } = await narrowRows(seed);
    const device = new SimulatedDevice("new", 30 * MIB);
    const working = work.run(mounted.fs, 20);
    await replace(mounted, position, device);
    await working;
    await settle(mounted);
    expect(mounted.volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
    await unmount(mounted);
    const images = withNew(imagesOf(mounted.devices), position, device);
    expect(await findings(seed, images, { everyRoot: true })).toEqual([]);
    expect(await treeOf(seed, images)).toBe(await work.tree());
  });

  it(`node ${position}: stays where no other copy has room for what it alone holds`, async () => {
    const seed = 6510 + position;
    const { work, mounted } = await narrowRows(seed, 4, [[17 * MIB], [17 * MIB, 19 * MIB]]);
    for (let i = 0; ; i++) {
      const at = [`full${i}`];
      await runStep(mounted.fs, { do: "create", at });
      const got = await runStep(mounted.fs, { do: "write", at, offset: 0, length: 65536, fill: i });
      if (got !== "ok") break;
    }
    await mounted.volume.forceCommit();
    const device = new SimulatedDevice("new", 30 * MIB);
    await expect(replace(mounted, position, device)).rejects.toThrow(
      new RegExp(`node 1/${position} alone holds \\d+ blocks .*inodes .* no room on other copies`),
    );
    expect(mounted.volume.members.inSync).toBe(0b11);
    expect(device.calls.write).toBe(0);
    expect(await work.tree()).toMatch(/narrow3/);
    await unmount(mounted);
  });
}

it("a node that is suspended stays while it alone holds something; one that failed goes, with what nobody can read", async () => {
  for (const failed of [true, false]) {
    const seed = 6520 + Number(failed);
    const { work, mounted } = await narrowRows(seed);
    if (failed) {
      for (const operation of ["write", "flush", "read"] as const)
        mounted.devices[2]!.fail({ operation, nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
      await setCopies(mounted.fs, "", "all");
      await bulk(work, mounted.fs, "more", MIB);
      await mounted.volume.forceCommit();
    } else await takeOut(mounted.volume, mounted.caretaker, COPY, { lasting: false, node: 1 });
    expect(mounted.volume.members.inSync).toBe(0b01);
    const device = new SimulatedDevice("new", 30 * MIB);
    if (failed) await replace(mounted, 1, device);
    else await expect(replace(mounted, 1, device)).rejects.toThrow(/node 1\/1 alone holds \d+ blocks .* can't be read/);
    await settle(mounted);
    expect(mounted.volume.members.inSync, mounted.notes.join("\n")).toBe(failed ? 0b11 : 0b01);
    await unmount(mounted);
    const images = failed ? withNew(imagesOf(mounted.devices), 1, device) : imagesOf(mounted.devices);
    const gone = await rightOrGone(seed, images, await work.tree());
    expect(gone > 0).toBe(failed);
  }
});

it("a device that did not become the node is given up, and the copy comes back with the old one", async () => {
  const seed = 6530;
  const { work, mounted } = await narrowRows(seed);
  const { volume, caretaker, copies, devices } = mounted;
  const device = new SimulatedDevice("new", 30 * MIB);
  vi.spyOn(caretaker, "stop").mockRejectedValueOnce(
    new CopiesError("busy", "copy 1", "calls on it are still under way"),
  );
  await expect(replace(mounted, 0, device)).rejects.toThrow(/under way/);
  expect(hasHeader(device)).toBe(false);
  expect(volume.members.inSync).toBe(0b01);
  const reopened: (SimulatedDevice | undefined)[] = [...devices];
  const open = (wanted: string): Promise<SimulatedDevice> => {
    const at = devices.findIndex((old) => old?.name === wanted);
    const { name, sizeBytes, image } = devices[at]!;
    return Promise.resolve((reopened[at] = new SimulatedDevice(name, sizeBytes, { image })));
  };
  Object.assign(copies, { open });
  await bringBack(volume, caretaker, COPY);
  await settle(mounted);
  expect(volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
  await unmount(mounted);
  const images = imagesOf(reopened);
  expect(await findings(seed, images, { everyRoot: true })).toEqual([]);
  expect(await treeOf(seed, images)).toBe(await work.tree());
});
