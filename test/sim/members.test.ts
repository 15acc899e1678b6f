// Copies are attached, detached and replaced while the volume is in use (I1, I2, I6–I8): to the end, interrupted after any
// step, and with a copy failing meanwhile. Afterwards the checker finds nothing, and each copy alone holds everything.

import { afterEach, describe, expect, it, vi } from "vitest";
import { bitCount } from "../../src/base/bits.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { minCopiesFor } from "../../src/copies/membership.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { NODE_HEADER_AREA_BYTES } from "../../src/format/geometry.ts";
import { MemberFlag } from "../../src/format/last-seen.ts";
import { rootCopyCount } from "../../src/format/root-block.ts";
import { rootMemberFlags } from "../../src/format/root-members.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { Detach } from "../../src/walk/detach.ts";
import { replaceNode } from "../../src/walk/replace-node.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  eachAlone,
  findings,
  formattedNodes,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  settle,
  targetOf,
  unmount,
  worked,
  type Workload,
} from "./copies-scene.ts";

afterEach(() => vi.restoreAllMocks());

const SIZES = [24 * MIB, 20 * MIB, 28 * MIB];
const NEW_BYTES = 26 * MIB;

interface Scene {
  readonly seed: number;
  readonly work: Workload;
  mounted: Mounted;
}

async function scene(seed: number, copyCount: number, stopAfterSteps?: number): Promise<Scene> {
  const options = stopAfterSteps === undefined ? {} : { stopAfterSteps };
  const images = await formattedNodes(seed, SIZES.slice(0, copyCount));
  return { seed, ...(await worked(seed, images, { steps: 15, bulkBytes: 3 * MIB }, options)) };
}

const newDevice = (): SimulatedDevice => new SimulatedDevice("new", NEW_BYTES);

/** What every device of a mount holds now; a device that was attached comes last. */
const allImages = (mounted: Mounted, ...more: SimulatedDevice[]): Images => imagesOf([...mounted.devices, ...more]);

/** Mounts `images` until nothing more is to be done, works a little, and holds everything against the model. */
async function endsWell({ seed, work }: Scene, images: Images, copyCount: number, what: string): Promise<Mounted> {
  expect(await findings(seed, images).then(serious), `${what}, before`).toEqual([]);
  const mounted = await mount(seed, images);
  await work.run(mounted.fs, 5);
  await settle(mounted);
  await work.run(mounted.fs, 3);
  await unmount(mounted);
  const { members, rootImage } = mounted.volume;
  const notes = `${what}\n${mounted.notes.join("\n")}`;
  expect(bitCount(members.inSync), notes).toBe(copyCount);
  expect(members.all, notes).toBe(members.inSync);
  expect(rootCopyCount(rootImage.view)).toBe(copyCount);
  expect(members.minCopies, notes).toBe(minCopiesFor(copyCount));
  // A copy that left is not looked at any more.
  const left = imagesOf(
    mounted.devices.filter((device) => mounted.copies.copies.some(({ name }) => name === device?.name)),
  );
  expect(await findings(seed, left, { everyRoot: true }), notes).toEqual([]);
  await eachAlone(seed, left, await work.tree());
  return mounted;
}

function serious(found: Awaited<ReturnType<typeof findings>>): typeof found {
  return found.filter(
    ({ name }) => !["copy-behind", "root-lost", "root-stale", "root-slot", "copy-absent"].includes(name),
  );
}

function attach({ seed, mounted }: Scene, device: SimulatedDevice): Promise<unknown> {
  return mounted.caretaker.attach(targetOf(device), { random: new SeededRandom(seed + 77) });
}

function replace({ seed, mounted }: Scene, index: number, device: SimulatedDevice): Promise<unknown> {
  return mounted.caretaker.replace(index, targetOf(device), { random: new SeededRandom(seed + 78) });
}

/** Copy 1 was taken out and is brought back: its device is open when `opened` is called. */
async function opening({ work, mounted }: Scene): Promise<{ back: Promise<void>; opened: () => void }> {
  const { volume, caretaker, copies } = mounted;
  await takeOut(volume, caretaker, 1, { lasting: false });
  await work.run(mounted.fs, 5);
  const { name, sizeBytes, image } = mounted.devices[1]!;
  const device = new SimulatedDevice(name, sizeBytes, { image });
  (mounted.devices as SimulatedDevice[])[1] = device;
  let opened = (): void => undefined;
  const until = new Promise<void>((resolve) => (opened = resolve));
  Object.assign(copies, { open: () => until.then(() => device) });
  const back = bringBack(volume, caretaker, 1);
  back.catch(() => undefined);
  return { back, opened };
}

describe("attaching", () => {
  for (const copyCount of [1, 2, 3]) {
    it(`a copy beside ${copyCount} catches it up and then counts it`, async () => {
      for (let seed = 700; seed < 704; seed++) {
        const at = await scene(seed, copyCount);
        const device = newDevice();
        await attach(at, device);
        expect(at.mounted.volume.members.minCopies).toBe(minCopiesFor(copyCount));
        await at.work.run(at.mounted.fs, 10);
        await settle(at.mounted);
        await at.work.run(at.mounted.fs, 5);
        await unmount(at.mounted);
        expect(bitCount(at.mounted.volume.members.inSync), at.mounted.notes.join("\n")).toBe(copyCount + 1);
        await endsWell(at, allImages(at.mounted, device), copyCount + 1, `seed ${seed}`);
      }
    });
  }

  it("goes on at the next mount when it was interrupted after any step", async () => {
    for (let steps = 1; steps < 6; steps++) {
      const at = await scene(720 + steps, 2, steps);
      const device = newDevice();
      await attach(at, device);
      await at.work.run(at.mounted.fs, 3);
      await settle(at.mounted);
      await unmount(at.mounted);
      await endsWell(at, allImages(at.mounted, device), 3, `seed ${at.seed}, ${steps} steps`);
    }
  });

  it("two at once takes one of them; the other device says nothing of the volume, and can be attached later", async () => {
    const at = await scene(730, 2);
    const { mounted } = at;
    const devices = ["one", "two"].map((name) => new SimulatedDevice(name, NEW_BYTES)) as [
      SimulatedDevice,
      SimulatedDevice,
    ];
    const tried = await Promise.allSettled(devices.map((device) => mounted.caretaker.attach(targetOf(device))));
    expect(tried.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(tried[1]).toMatchObject({ reason: { message: expect.stringMatching(/attached meanwhile/) as unknown } });
    const front = new Uint8Array(NODE_HEADER_AREA_BYTES);
    devices[1].image.read(0, front);
    expect(front.every((byte) => byte === 0)).toBe(true);
    await settle(mounted);
    await attach(at, devices[1]);
    await settle(mounted);
    await unmount(mounted);
    await endsWell(at, allImages(mounted, ...devices), 4, "both");
  });

  it("is refused beside eight copies", async () => {
    const seed = 740;
    const mounted = await mount(seed, await formattedNodes(seed, new Array<number>(8).fill(20 * MIB)));
    const device = newDevice();
    await expect(mounted.caretaker.attach(targetOf(device))).rejects.toThrow(/8 copies.*detach one first/);
    expect(device.calls.write).toBe(0);
    await unmount(mounted);
  });
});

describe("detaching", () => {
  it("a copy clears every trace of it, and its index is used again", async () => {
    for (const index of [0, 1, 2]) {
      const at = await scene(760 + index, 3);
      await at.mounted.caretaker.detach(index);
      await at.work.run(at.mounted.fs, 10);
      await settle(at.mounted);
      expect(at.mounted.volume.members.all, at.mounted.notes.join("\n")).toBe(0b111 & ~(1 << index));
      expect(at.mounted.volume.members.minCopies).toBe(1);
      await unmount(at.mounted);
      const images = allImages(at.mounted).filter((_, i) => i !== index);
      at.mounted = await mount(at.seed, images);
      const device = newDevice();
      await attach(at, device);
      expect(at.mounted.copies.copy(index)?.name).toBe("new");
      await settle(at.mounted);
      await unmount(at.mounted);
      await endsWell(at, allImages(at.mounted, device), 3, `seed ${at.seed}`);
    }
  });

  it("goes on at the next mount, with the copy's device or without", async () => {
    for (let steps = 1; steps < 8; steps++) {
      for (const without of [true, false]) {
        const at = await scene(780 + 2 * steps + (without ? 1 : 0), 3, steps);
        await at.mounted.caretaker.detach(1);
        await at.work.run(at.mounted.fs, 3);
        await settle(at.mounted);
        await unmount(at.mounted);
        const gone = (at.mounted.volume.members.all & 0b10) === 0;
        const images = allImages(at.mounted).map((image, i) => ((without || gone) && i === 1 ? undefined : image));
        await endsWell(at, images, 2, `seed ${at.seed}, ${steps} steps`);
      }
    }
  });

  it("a copy that is brought online meanwhile goes on: nothing is owed to it any more (I1)", async () => {
    // Before anything is cleared, and after all that can be.
    for (const cleared of [false, true]) {
      const at = await scene(790 + Number(cleared), 3);
      const { volume, caretaker, copies } = at.mounted;
      if (!cleared) vi.spyOn(Detach.prototype, "run").mockResolvedValue(false);
      else vi.spyOn(volume.members, "forget").mockImplementation(() => undefined);
      await caretaker.detach(1);
      await at.work.run(at.mounted.fs, 10);
      await settle(at.mounted);
      const { name, sizeBytes, image } = at.mounted.devices[1]!;
      Object.assign(copies, { open: () => Promise.resolve(new SimulatedDevice(name, sizeBytes, { image })) });
      const refused = /copy 1 is being detached/;
      await expect(bringBack(volume, caretaker, 1)).rejects.toThrow(refused);
      const target = targetOf(newDevice());
      await expect(replaceNode(volume, caretaker, { index: 1, position: 0 }, target)).rejects.toThrow(refused);
      expect(volume.members.inSync).toBe(0b101);
      expect(copies.copy(1)?.standing).toBe("leaving");
      vi.restoreAllMocks();
      await caretaker.detach(1);
      await settle(at.mounted);
      expect(volume.members.all, at.mounted.notes.join("\n")).toBe(0b101);
      await unmount(at.mounted);
      const images = allImages(at.mounted).map((image, i) => (i === 1 ? undefined : image));
      await endsWell(at, images, 2, `seed ${at.seed}`);
    }
  });

  it("a copy that is being opened to be brought back leaves all the same (I1)", async () => {
    const at = await scene(792, 3);
    const { volume, caretaker, notes } = at.mounted;
    const { back, opened } = await opening(at);
    vi.spyOn(Detach.prototype, "run").mockResolvedValue(false);
    await caretaker.detach(1);
    opened();
    await expect(back).rejects.toThrow(/copy 1 is being detached/);
    vi.restoreAllMocks();
    await caretaker.detach(1);
    await settle(at.mounted);
    expect(volume.members.all, notes.join("\n")).toBe(0b101);
    await unmount(at.mounted);
    const images = allImages(at.mounted).map((each, i) => (i === 1 ? undefined : each));
    await endsWell(at, images, 2, `seed ${at.seed}`);
  });

  it("is refused when too few complete copies would be left", async () => {
    const at = await scene(800, 1);
    await expect(at.mounted.caretaker.detach(0)).rejects.toThrow(/copy 0.*0 complete copies/);
    await expect(at.mounted.caretaker.detach(5)).rejects.toThrow(/copy 5.*no copy of the volume/);
    await unmount(at.mounted);
    const device = newDevice();
    at.mounted = await mount(at.seed, allImages(at.mounted), { stopAfterSteps: 1 });
    await attach(at, device);
    await settle(at.mounted);
    await expect(at.mounted.caretaker.detach(0)).rejects.toThrow(/0 complete copies/);
    await unmount(at.mounted);
  });
});

describe("replacing", () => {
  it("a copy, at hand or not, leaves a new one that holds everything by itself", async () => {
    for (const missing of [false, true]) {
      for (const copyCount of [1, 2, 3]) {
        if (missing && copyCount === 1) continue;
        const at = await scene(820 + 10 * copyCount + (missing ? 1 : 0), copyCount);
        const old = copyCount - 1;
        if (missing) {
          await unmount(at.mounted);
          at.mounted = await mount(
            at.seed,
            allImages(at.mounted).map((image, i) => (i === old ? undefined : image)),
            { degraded: true },
          );
        }
        const device = newDevice();
        await replace(at, old, device);
        await at.work.run(at.mounted.fs, 10);
        await settle(at.mounted);
        await at.work.run(at.mounted.fs, 5);
        await unmount(at.mounted);
        const { members } = at.mounted.volume;
        expect(members.inSync, at.mounted.notes.join("\n")).toBe(members.all);
        expect(members.all & (1 << old)).toBe(0);
        const images = allImages(at.mounted, device).map((image, i) => (i === old ? undefined : image));
        await eachAlone(at.seed, images, await at.work.tree());
        await endsWell(at, images, copyCount, `seed ${at.seed}`);
      }
    }
  });

  it("goes on at the next mount when it was interrupted after any step", async () => {
    for (let steps = 1; steps < 10; steps++) {
      const at = await scene(860 + steps, 2, steps);
      const device = newDevice();
      await replace(at, 1, device);
      await at.work.run(at.mounted.fs, 3);
      await settle(at.mounted);
      await unmount(at.mounted);
      const gone = (at.mounted.volume.members.all & 0b10) === 0;
      const images = allImages(at.mounted, device).map((image, i) => (gone && i === 1 ? undefined : image));
      await endsWell(at, images, 2, `seed ${at.seed}, ${steps} steps`);
    }
  });
});

describe("taking out", () => {
  it("a copy that is being opened to be brought back keeps it out, until the operator says otherwise", async () => {
    const at = await scene(890, 3);
    const { volume, caretaker, copies } = at.mounted;
    const { back, opened } = await opening(at);
    await takeOut(volume, caretaker, 1, { lasting: true });
    opened();
    await expect(back).rejects.toThrow(/something else was done with the copy meanwhile/);
    await settle(at.mounted);
    expect(copies.copy(1)?.standing).toBe("offline");
    expect(rootMemberFlags(volume.rootImage.view, 1) & MemberFlag.OFFLINE).not.toBe(0);
    // What was opened for it is closed again.
    await expect(at.mounted.devices[1]!.flush()).rejects.toThrow(/closed/);
    await unmount(at.mounted);
    const again = await mount(at.seed, allImages(at.mounted));
    await settle(again);
    expect(again.copies.copy(1)?.standing).toBe("offline");
    await unmount(again);
  });
});

describe("a copy that fails", () => {
  const changes: Readonly<Record<string, (at: Scene, device: SimulatedDevice) => Promise<unknown>>> = {
    attach,
    replace: (at, device) => replace(at, 1, device),
    detach: (at) => at.mounted.caretaker.detach(1),
  };
  for (const [name, change] of Object.entries(changes)) {
    it(`while another is to ${name} is dropped and comes back, and the change comes to its end`, async () => {
      for (const role of [0, 1, 2, 3]) {
        if (name === "detach" && role === 3) continue;
        for (const operation of ["write", "flush"] as const) {
          for (let nth = 1; nth < 30; nth += nth < 4 ? 1 : 8) {
            const at = await scene(1000 + role * 100 + nth, 3);
            const device = newDevice();
            const failing = role === 3 ? device : at.mounted.devices[role]!;
            failing.fail({ operation, nth, permanent: true, effect: { kind: "error", code: "EIO" } });
            const what = `${name}, seed ${at.seed}, copy ${role}, ${operation} ${nth}`;
            const refused = await change(at, device).then(
              () => false,
              () => true,
            );
            await at.work.run(at.mounted.fs, 5);
            await settle(at.mounted);
            await at.work.run(at.mounted.fs, 3);
            await unmount(at.mounted);
            const { all } = at.mounted.volume.members;
            const isMember = (name: string): boolean => at.mounted.copies.copies.some((copy) => copy.name === name);
            const images = [...at.mounted.devices, device].map((each) =>
              each !== undefined && isMember(each.name) ? each.image : undefined,
            );
            const counted = bitCount(all & ~at.mounted.volume.members.leaving);
            const wanted =
              counted - (name === "replace" && !refused && (all & 0b1010) === 0b1010 && counted === 4 ? 1 : 0);
            await endsWell(at, images, wanted, `${what}\n${at.mounted.notes.join("\n")}`);
          }
        }
      }
    });
  }
});
