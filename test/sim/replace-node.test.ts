// A node of a row moves to another device while the volume is in use (I5–I8): only what lay there is brought, the others go on,
// and after a crash at any moment the volume mounts with the old device or the new one, whole.

import { afterEach, describe, expect, it, vi } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { ContentLostError } from "../../src/device/device.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { hasNodeHeaderMagic, NODE_HEADER_BYTES } from "../../src/format/node-header.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { replaceNode } from "../../src/walk/replace-node.ts";
import { Resync } from "../../src/walk/resync.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { survivors } from "../crash/power-cut.ts";
import { describeFileSystem } from "../model/digest.ts";
import { runStep } from "../model/workload.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
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
  worked,
  type Workload,
} from "./copies-scene.ts";
import { within } from "./virtual-time.ts";

afterEach(() => vi.restoreAllMocks());

/** One copy on a device, and one on a row; what follows moves a node of the second. */
const ROWS = [[34 * MIB], [16 * MIB, 18 * MIB]];
const COPY = 1;
const NEW_BYTES = 20 * MIB;

interface Scene {
  readonly seed: number;
  readonly work: Workload;
  readonly mounted: Mounted;
}

async function scene(seed: number, stopAfterSteps?: number): Promise<Scene> {
  const options = stopAfterSteps === undefined ? {} : { stopAfterSteps };
  const images = await formattedRows(seed, ROWS);
  return { seed, ...(await worked(seed, images, { steps: 15, bulkBytes: 9 * MIB }, options)) };
}

function replace({ seed, mounted }: Scene, position: number, device: SimulatedDevice): Promise<void> {
  const { volume, caretaker } = mounted;
  return replaceNode(volume, caretaker, { index: COPY, position }, targetOf(device), new SeededRandom(seed + 5));
}

/** The images to mount with: the new node in the place of the old one. */
function withNew(images: Images, position: number, device: PagedImage): Images {
  return images.map((image, i) => (i === 1 + position ? device : image));
}

function hasHeader(image: PagedImage): boolean {
  const bytes = new Uint8Array(NODE_HEADER_BYTES);
  image.read(0, bytes);
  return hasNodeHeaderMagic(bytes);
}

/** Both copies are in sync, the checker finds nothing, and each alone holds everything. */
async function isWhole(seed: number, images: Images, tree: string, what: string): Promise<void> {
  expect(await findings(seed, images, { everyRoot: true }), what).toEqual([]);
  for (const alone of [images.map((image, i) => (i === 0 ? image : undefined)), [undefined, ...images.slice(1)]])
    expect(await treeOf(seed, alone, { degraded: true }), what).toBe(tree);
}

/** Mounts with the first of `choices` that is not refused. */
async function mountAny(seed: number, choices: readonly Images[]): Promise<Mounted> {
  const [first, ...rest] = choices as [Images, ...Images[]];
  return mount(seed, first).catch((error: unknown) => {
    if (rest.length === 0) throw error;
    return mountAny(seed, rest);
  });
}

describe("replacing a node of a row", () => {
  let refused = 0;
  for (const position of [0, 1]) {
    it(`${position}: only what lay there is brought, and the old device is free afterwards`, async () => {
      for (let seed = 6000; seed < 6004; seed++) {
        const at = await scene(seed);
        const { mounted, work } = at;
        const device = new SimulatedDevice("new", NEW_BYTES);
        const other = mounted.devices[2 - position]!;
        const usedBytes = 1024 * (mounted.volume.statfs().copies[COPY]?.usedKib ?? 0);
        const working = work.run(mounted.fs, 10);
        const before = other.bytes.read;
        await replace(at, position, device);
        expect(mounted.volume.members.inSync).toBe(0b01);
        await working;
        await settle(mounted);
        // It was kept as it was, and not even looked at block by block.
        expect(other.bytes.read - before).toBeLessThan(usedBytes / 4);
        expect(mounted.volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
        expect(hasHeader(mounted.devices[1 + position]!.image)).toBe(false);
        await work.run(mounted.fs, 5);
        await unmount(mounted);
        const images = withNew(imagesOf(mounted.devices), position, device.image);
        await isWhole(seed, images, await work.tree(), `seed ${seed}`);
      }
    });

    it(`${position}: goes on at the next mount when it was interrupted, with the new device or the old one`, async () => {
      for (let steps = 1; steps < 8; steps++) {
        for (const old of [true, false]) {
          const at = await scene(6100 + 2 * steps + Number(old), steps);
          const device = new SimulatedDevice("new", NEW_BYTES);
          await replace(at, position, device);
          await at.work.run(at.mounted.fs, 3);
          await settle(at.mounted);
          await unmount(at.mounted);
          const images = imagesOf(at.mounted.devices);
          const isOver = at.mounted.volume.members.inSync === 0b11;
          const isFree = !hasHeader(at.mounted.devices[1 + position]!.image);
          const chosen = old && !isFree ? images : withNew(images, position, device.image);
          // It was complete with the new one: with the old one it is not, and nobody takes it for that.
          if (old && isOver && !isFree) {
            await expect(mount(at.seed, chosen)).rejects.toThrow(
              /one of its nodes is not the one that the volume knows/,
            );
            refused++;
          }
          const again = await mount(at.seed, chosen, { degraded: old && isOver });
          await at.work.run(again.fs, 3);
          await settle(again);
          await unmount(again);
          expect(again.volume.members.inSync, again.notes.join("\n")).toBe(0b11);
          await isWhole(at.seed, imagesOf(again.devices), await at.work.tree(), `seed ${at.seed}, ${steps} steps`);
        }
      }
    });
  }

  it("comes to its end when blocks that are kept lie between those that are brought", async () => {
    const seed = 6400;
    const images = await formattedRows(seed, [[80 * MIB], [40 * MIB, 40 * MIB]]);
    const { work, mounted } = await worked(seed, images, { steps: 5, bulkBytes: 48 * MIB });
    // The first block of each MiB, and then the last, goes to another place.
    for (const offset of [0, 15 * 65536]) {
      for (let at = 0; at < 48; at++) {
        const step = { do: "write", at: ["bulk"], offset: at * MIB + offset, length: 65536, fill: at } as const;
        for (const each of [mounted.fs, work.model]) expect(await runStep(each, step)).toBe("ok");
      }
      await mounted.fs.sync();
    }
    const device = new SimulatedDevice("new", 42 * MIB);
    for (const [position, target] of [
      [1, device],
      [0, new SimulatedDevice("newer", 42 * MIB)],
    ] as const) {
      await replace({ seed: seed + position, work, mounted }, position, target);
      await settle(mounted);
      expect(mounted.volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
    }
    await unmount(mounted);
  });

  it("was also tried with the old device after the copy was complete", () => expect(refused).toBeGreaterThan(0));

  it("that failed, or was suspended, brings the copy back without it", async () => {
    for (const failed of [true, false]) {
      const at = await scene(6200 + Number(failed));
      const { mounted, work } = at;
      if (failed) {
        for (const operation of ["write", "flush", "read"] as const)
          mounted.devices[2]!.fail({ operation, nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
      } else await takeOut(mounted.volume, mounted.caretaker, COPY, { lasting: false, node: 1 });
      await work.run(mounted.fs, 10);
      await mounted.volume.forceCommit();
      expect(mounted.volume.members.inSync).toBe(0b01);
      const device = new SimulatedDevice("new", NEW_BYTES);
      await replace(at, 1, device);
      await settle(mounted);
      await unmount(mounted);
      expect(mounted.volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
      const images = withNew(imagesOf(mounted.devices), 1, device.image);
      await isWhole(at.seed, images, await work.tree(), `failed ${failed}`);
    }
  });

  it("again, or another one, before it is over lets go of each device whose place was taken", async () => {
    for (const next of [0, 1]) {
      const at = await scene(6220 + next);
      const { mounted, work } = at;
      const [first, second] = [new SimulatedDevice("new", NEW_BYTES), new SimulatedDevice("newer", NEW_BYTES)];
      await replace(at, 0, first);
      await replace({ ...at, seed: at.seed + 1 }, next, second);
      await settle(mounted);
      expect(mounted.volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
      const old = next === 0 ? [mounted.devices[1]!, first] : [mounted.devices[1]!, mounted.devices[2]!];
      for (const device of old) {
        expect(hasHeader(device.image)).toBe(false);
        await expect(device.flush()).rejects.toThrow(/closed/);
      }
      await unmount(mounted);
      if (next === 0) continue;
      await isWhole(at.seed, imagesOf([mounted.devices[0], first, second]), await work.tree(), `seed ${at.seed}`);
    }
  });

  it("is cleared up behind only while the copy is the same: what is kept for one brought back stays (I7)", async () => {
    const at = await scene(6230);
    const { mounted } = at;
    const { clock, copies, devices, volume, caretaker } = mounted;
    const device = new SimulatedDevice("new", NEW_BYTES);
    await replace(at, 0, device);
    devices[1]!.fail({ operation: "write", nth: 1, permanent: true, effect: { kind: "hang" } });
    await within(
      clock,
      1000,
      caretaker.settled().then(() => undefined),
    ).catch(() => undefined);
    expect(volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
    device.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    await at.work.run(mounted.fs, 10);
    await volume.forceCommit();
    const opened = new Map([device, devices[2]!].map((old) => [old.name, old]));
    const open = (name: string): Promise<SimulatedDevice> => {
      const { sizeBytes, image } = opened.get(name)!;
      return Promise.resolve(new SimulatedDevice(name, sizeBytes, { image }));
    };
    Object.assign(copies, { open });
    vi.spyOn(Resync.prototype, "run").mockResolvedValue("stopped");
    await bringBack(volume, caretaker, COPY, { target: "new+copy2" });
    const kept = (): unknown => [
      volume.rings.ring(COPY)?.anchor !== undefined,
      volume.store.freemaps[COPY]?.anchoredLeaves,
    ];
    const before = kept();
    expect(before).toEqual([true, expect.arrayContaining([0])]);
    await clock.advance(20_000);
    await settle(mounted);
    expect(kept()).toEqual(before);
    await unmount(mounted);
  });

  it("keeps nothing unchecked of a copy that lost what it held in the commit before (I6)", async () => {
    const at = await scene(6240);
    const { mounted, work } = at;
    const { volume, copies, devices } = mounted;
    const changeMembers = volume.changeMembers.bind(volume);
    volume.changeMembers = async (body) => {
      const kept = devices[1]!;
      const flush = kept.flush.bind(kept);
      kept.flush = () => Promise.reject(new ContentLostError(kept.name, "flush", 0, "ESTALE", "is empty"));
      kept.image.write(5 * MIB, new Uint8Array(MIB));
      await volume.forceCommit();
      kept.flush = flush;
      await changeMembers(body);
    };
    const device = new SimulatedDevice("new", NEW_BYTES);
    await replace(at, 1, device);
    expect(copies.copy(COPY)).toMatchObject({ untrusted: true, lostNode: undefined });
    volume.changeMembers = changeMembers;
    await settle(mounted);
    await unmount(mounted);
    expect(volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
    await isWhole(at.seed, withNew(imagesOf(devices), 1, device.image), await work.tree(), "with the new node");
  });

  it("is refused where it can't be done, with nothing changed", async () => {
    const at = await scene(6300);
    const { mounted } = at;
    const { volume, caretaker } = mounted;
    const small = new SimulatedDevice("small", 16 * MIB);
    const device = new SimulatedDevice("new", NEW_BYTES);
    const tried = (index: number, position: number, target = targetOf(device)): Promise<void> =>
      replaceNode(volume, caretaker, { index, position }, target);
    await expect(tried(COPY, 1, targetOf(small))).rejects.toThrow(/small: has \d+ bytes; node 1\/1 takes \d+/);
    await expect(tried(COPY, 2)).rejects.toThrow(/copy 1 has nodes 0 to 1/);
    await expect(tried(0, 0)).rejects.toThrow(/single node; h2ts replace DIR 0 TARGET/);
    await expect(tried(COPY, 0, { name: "x+y", devices: [device, small] })).rejects.toThrow(/one device, not a row/);
    const plus = new SimulatedDevice("/srv/x+y/n2.img", NEW_BYTES);
    await expect(tried(COPY, 1, targetOf(plus))).rejects.toThrow(/x\+y\/n2\.img: has a plus sign in its path/);
    await takeOut(volume, caretaker, 0, { lasting: false });
    await expect(tried(COPY, 1)).rejects.toThrow(/copy 1 is needed/);
    expect([small.calls.write, device.calls.write]).toEqual([0, 0]);
    await unmount(mounted);
  });
});

describe("a power cut while a node is replaced", () => {
  it("leaves a volume that mounts with either device, and becomes whole", async () => {
    for (const seed of [1, 2, 3, 4]) {
      const position = seed % 2;
      const plain = await worked(seed, await formattedRows(seed, ROWS), { steps: 15, bulkBytes: 2 * MIB });
      await unmount(plain.mounted);
      const { work } = plain;
      const disk = new SimulatedDisk();
      const mounted = await mount(seed, imagesOf(plain.mounted.devices), { disk });
      const device = new SimulatedDevice("new", NEW_BYTES, { disk });
      const firstEvent = disk.events.length;
      const states = [await work.tree()];
      const acknowledged = [{ events: firstEvent, state: 0 }];
      const done = replace({ seed, work, mounted }, position, device);
      for (let i = 0; i < 4; i++) {
        await work.run(mounted.fs, 1);
        states.push(await work.tree());
        await mounted.fs.sync();
        acknowledged.push({ events: disk.events.length, state: states.length - 1 });
      }
      await done;
      await settle(mounted);
      await unmount(mounted);
      expect(mounted.volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
      const random = new SeededRandom(seed ^ 0x5eed);
      const points = Array.from({ length: 4 }, (_, number) => new CrashPoint(disk, number));
      for (let cut = firstEvent; cut <= disk.events.length; cut += 2) {
        for (const point of points) point.advanceTo(cut);
        const [first, ...rest] = points.map((point) => point.image(survivors(point.pending, random)));
        const [old, fresh] = [[first, rest[0], rest[1]], withNew([first, rest[0], rest[1]], position, rest[2]!)];
        const what = `seed ${seed}, cut ${cut} of ${disk.events.length}`;
        // A device without a header is none that anybody would mount.
        const choices = [old, fresh].filter((images) =>
          images.every((image) => image !== undefined && hasHeader(image)),
        );
        expect(choices.length, what).toBeGreaterThan(0);
        const order = random.below(2) === 0 ? choices : [...choices].reverse();
        const again = await mountAny(seed, order);
        const tree = (await describeFileSystem(again.fs)).join("\n");
        const promised = acknowledged.findLast(({ events }) => events <= cut)?.state ?? 0;
        expect(states.indexOf(tree, promised), what).toBeGreaterThanOrEqual(0);
        await settle(again);
        await unmount(again);
        expect(again.volume.members.inSync, `${what}\n${again.notes.join("\n")}`).toBe(0b11);
        await isWhole(seed, imagesOf(again.devices), tree, what);
      }
    }
  });
});
