// Several copies on one device that go different ways: one leaves for good, is out while the others are not, comes back. Its neighbours
// stay what they are, whoever opens the device tells the copies apart by their UUIDs (I6), and nothing that the device lost is taken for
// flushed (I1).

import { expect, it } from "vitest";
import { fsckVolume } from "../../fsck/fsck.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { assembleCopies } from "../../src/copies/assemble.ts";
import type { Copy } from "../../src/copies/copy.ts";
import { readNodeHeader } from "../../src/copies/read-header.ts";
import { ContentLostError, DeviceError } from "../../src/device/device.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import type { Range } from "../../src/device/range.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { refIsBare } from "../../src/format/blockref.ts";
import { KIB, NODE_HEADER_AREA_BYTES, NODE_HEADER_BACKUP_BYTES, RING_AREA_KIB } from "../../src/format/geometry.ts";
import { NODE_HEADER_BYTES } from "../../src/format/node-header.ts";
import { rootFreemapOffset } from "../../src/format/root-block.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import { type Mounted, targetOf, unmount } from "./copies-scene.ts";
import { COPY_BYTES, formatted, mounted, SEED } from "./shared-device-scene.ts";

/** What opens `device` for a copy that comes back. */
const opens = (mount: Mounted, device: SimulatedDevice): void =>
  void Object.assign(mount.copies, { open: () => Promise.resolve(device) });

const again = ({ name, sizeBytes, image }: SimulatedDevice): SimulatedDevice =>
  new SimulatedDevice(name, sizeBytes, { image });

async function write({ fs, volume }: Mounted, name: string): Promise<void> {
  await runStep(fs, { do: "create", at: [name] });
  await runStep(fs, { do: "write", at: [name], offset: 0, length: MIB, fill: 7 });
  await volume.forceCommit();
}

async function detached(mount: Mounted, index: number): Promise<void> {
  await mount.caretaker.detach(index);
  await mount.caretaker.settled();
  expect(mount.volume.members.all & (1 << index)).toBe(0);
}

const listed = async (device: SimulatedDevice): Promise<number[]> =>
  (await readNodeHeader(device)).ranges.map(({ copyIndex }) => copyIndex);

/** The header as it was before a copy left: what a crash right after that leaves behind. */
function withHeaderOf(image: PagedImage, before: PagedImage): PagedImage {
  const fork = image.fork();
  for (const at of [0, NODE_HEADER_BACKUP_BYTES]) {
    const bytes = new Uint8Array(NODE_HEADER_BYTES);
    before.read(at, bytes);
    fork.write(at, bytes);
  }
  return fork;
}

/** What fsck finds, or leaves, but notes, and the images afterwards. */
async function fsck(images: readonly PagedImage[], repair?: "safe"): Promise<{ left: string[]; after: PagedImage[] }> {
  const devices = images.map((image, i) => new SimulatedDevice(`d${i}`, image.sizeBytes, { image }));
  const clock = new SimulatedClock();
  const copies = await assembleCopies(devices.map(targetOf), { clock, readOnly: repair === undefined });
  const { left } = await fsckVolume({ copies, devices }, { clock, force: true, ...(repair && { repair }) });
  const faults = left.filter(({ severity }) => severity !== "note");
  return { left: faults.map(({ message }) => message), after: devices.map(({ image }) => image) };
}

for (const index of [0, 1]) {
  it(`copy ${index} leaves: its range is struck from the header, and the rest is mounted as before`, async () => {
    const images = await formatted();
    const mount = await mounted(images);
    await write(mount, "file");
    await detached(mount, index);
    const [disk, other] = mount.devices as [SimulatedDevice, SimulatedDevice];
    expect(await listed(disk)).toEqual([1 - index]);
    await unmount(mount);
    const after = [disk.image, other.image];
    expect((await fsck(after)).left).toEqual([]);
    const next = await mounted(after);
    expect(next.volume.members.inSync).toBe(0b111 & ~(1 << index));
    await unmount(next);
  });
}

it("a header that still lists a copy that left, by an index that is another's now, is no harm; fsck rewrites it", async () => {
  const images = await formatted();
  const mount = await mounted(images);
  await write(mount, "file");
  await detached(mount, 0);
  const third = new SimulatedDevice("third", COPY_BYTES);
  const random = new SeededRandom(SEED);
  await mount.caretaker.attach(targetOf(third), { random });
  await mount.caretaker.settled();
  expect(mount.volume.members.inSync).toBe(0b111);
  await unmount(mount);
  const [disk, other] = mount.devices as [SimulatedDevice, SimulatedDevice];
  const stale = withHeaderOf(disk.image, images[0] as PagedImage);
  const all = [stale, other.image, third.image];
  for (const order of [
    [0, 1, 2],
    [2, 1, 0],
  ]) {
    const next = await mounted(order.map((i) => all[i] as PagedImage));
    expect(next.volume.members.inSync).toBe(0b111);
    expect(next.copies.copies.map(({ standing }) => standing)).toEqual(["in-sync", "in-sync", "in-sync"]);
    await unmount(next);
  }
  // Without the copy that has the index now: still not that one.
  const degraded = await mounted([stale, other.image], { degraded: true });
  expect(degraded.copies.mask).toBe(0b110);
  await unmount(degraded);
  expect((await fsck(all)).left).toEqual([
    "d0: the node header at byte 0 lists a copy 0 that has left the volume",
    "d0: the node header at byte 32768 lists a copy 0 that has left the volume",
  ]);
  const { left, after } = await fsck(all, "safe");
  expect(left).toEqual([]);
  expect(await listed(new SimulatedDevice("disk", 2 * COPY_BYTES, { image: after[0] as PagedImage }))).toEqual([1]);
});

it("a copy that failed, and left with its ring as it was, is left out as well", async () => {
  const images = await formatted();
  const first = await mounted(images);
  await takeOut(first.volume, first.caretaker, 1, { lasting: true });
  await write(first, "file");
  await unmount(first);
  const [disk, other] = first.devices as [SimulatedDevice, SimulatedDevice];
  // The disk is away while one of its copies is detached.
  const mount = await mounted([other.image], { degraded: true });
  await detached(mount, 1);
  await unmount(mount);
  const next = await mounted([disk.image, (mount.devices[0] as SimulatedDevice).image]);
  await next.caretaker.settled();
  expect(next.volume.members.inSync).toBe(0b101);
  await unmount(next);
});

it("histories that parted: a copy that left by one of them only is neither left out nor struck", async () => {
  const images = await formatted();
  const other = await mounted(images.slice(1), { degraded: true });
  await detached(other, 1);
  for (let i = 0; i < 6; i++) await write(other, `other${i}`);
  await unmount(other);
  const mount = await mounted(images.slice(0, 1), { degraded: true }, undefined, SEED + 1);
  await write(mount, "file");
  await unmount(mount);
  const parted = [mount, other].map(({ devices }) => (devices[0] as SimulatedDevice).image);
  const devices = parted.map((image, i) => new SimulatedDevice(`d${i}`, image.sizeBytes, { image }));
  const set = await assembleCopies(devices.map(targetOf), { clock: new SimulatedClock() });
  expect(set.copies.map(({ index }) => index)).toEqual([0, 1, 2]);
  await expect(mounted(parted)).rejects.toThrow(/went another way/);
  const repaired = await fsck(parted, "safe").catch(() => ({ after: parted }));
  expect(await listed(new SimulatedDevice("disk", 2 * COPY_BYTES, { image: repaired.after[0] as PagedImage }))).toEqual(
    [0, 1],
  );
  for (const forcedMaster of [0, 1, 2]) {
    const forced = await mounted(
      parted.map((image) => image.fork()),
      { forcedMaster },
    );
    expect(forced.volume.members.all).toBe(forcedMaster === 2 ? 0b101 : 0b111);
    await unmount(forced);
  }
});

it("a power cut while the range is struck leaves a header, and a volume that can be mounted", async () => {
  const images = await formatted();
  const disk = new SimulatedDisk();
  const mount = await mounted(images, {}, disk);
  await write(mount, "file");
  await detached(mount, 1);
  const isOfHeader = (i: number): boolean => {
    const event = disk.events[i];
    return event?.kind === "write" && event.offsetBytes < NODE_HEADER_AREA_BYTES;
  };
  const first = disk.events.findIndex((_, i) => isOfHeader(i));
  expect(first).toBeGreaterThan(0);
  const other = (mount.devices[1] as SimulatedDevice).image;
  for (let end = first; end <= disk.events.length; end++) {
    for (const torn of [false, true]) {
      const cut = new CrashPoint(disk, 0);
      cut.advanceTo(end);
      const image = cut.image([]);
      const last = disk.events[end - 1];
      // The write under way is half there.
      if (torn && isOfHeader(end - 1) && last?.kind === "write")
        image.write(last.offsetBytes + 512, new Uint8Array(512));
      const next = await mounted([image, other]);
      expect(next.volume.members.inSync, `${end} of ${disk.events.length}`).toBe(0b101);
      await unmount(next);
    }
  }
});

it("a device that was not here comes back with each of its copies", async () => {
  const images = await formatted();
  const mount = await mounted(images.slice(1), { degraded: true });
  await write(mount, "file");
  const device = new SimulatedDevice("disk", 2 * COPY_BYTES, { image: images[0] as PagedImage });
  opens(mount, device);
  await bringBack(mount.volume, mount.caretaker, 0, { target: "disk" });
  expect(mount.copies.copy(1)?.standing).toBe("faulted");
  await bringBack(mount.volume, mount.caretaker, 1, { target: "disk" });
  await mount.caretaker.settled();
  expect(mount.volume.members.inSync).toBe(0b111);
  await unmount(mount);
});

it("a device that died is opened anew for the first copy that comes back, and serves the others, too", async () => {
  const mount = await mounted(await formatted());
  const disk = mount.devices[0] as SimulatedDevice;
  for (const operation of ["write", "flush", "read"] as const)
    disk.fail({ operation, nth: 1, permanent: true, effect: { kind: "error", code: "ENOTCONN" } });
  await write(mount, "file");
  expect(mount.volume.members.inSync).toBe(0b100);
  let closes = 0;
  disk.close = () => Promise.resolve(void closes++);
  const device = again(disk);
  opens(mount, device);
  for (const index of [1, 0]) await bringBack(mount.volume, mount.caretaker, index);
  await mount.caretaker.settled();
  expect({ closes, inSync: mount.volume.members.inSync }).toEqual({ closes: 1, inSync: 0b111 });
  await unmount(mount);
});

it("a device is let go of when the last of its copies is taken out, and opened once for all of them", async () => {
  const mount = await mounted(await formatted());
  const { volume, caretaker, copies } = mount;
  const disk = mount.devices[0] as SimulatedDevice;
  let closes = 0;
  disk.close = () => Promise.resolve(void closes++);
  await takeOut(volume, caretaker, 0, { lasting: true });
  expect(closes).toBe(0);
  await takeOut(volume, caretaker, 1, { lasting: true });
  expect(closes).toBe(1);
  await write(mount, "file");
  opens(mount, again(disk));
  await bringBack(volume, caretaker, 0);
  expect(copies.copy(1)).toMatchObject({ standing: "offline", released: false });
  await bringBack(volume, caretaker, 1);
  await caretaker.settled();
  expect(volume.members.inSync).toBe(0b111);
  await unmount(mount);
});

it("a device is let go of when the copy that still used it has left", async () => {
  const mount = await mounted(await formatted());
  const disk = mount.devices[0] as SimulatedDevice;
  await takeOut(mount.volume, mount.caretaker, 0, { lasting: true });
  await detached(mount, 1);
  expect(await listed(again(disk))).toEqual([0]);
  await expect(disk.flush()).rejects.toThrow("device is closed");
  await unmount(mount);
});

const lostContent = new ContentLostError("disk", "flush", 0, "EIO", "the file was cut off");

it("a copy that was out when its device lost content is checked when it comes back, at a later mount, too", async () => {
  for (const remount of [false, true]) {
    const mount = await mounted(await formatted());
    await write(mount, "file");
    await takeOut(mount.volume, mount.caretaker, 1, { lasting: true });
    const disk = mount.devices[0] as SimulatedDevice;
    const flush = disk.flush.bind(disk);
    disk.flush = () => {
      disk.flush = flush;
      return Promise.reject(lostContent);
    };
    await write(mount, "more");
    expect(mount.volume.members.inSync).toBe(0b100);
    let now: Mounted = mount;
    if (remount) {
      await unmount(mount);
      now = await mounted(mount.devices.map(({ image }) => image));
    } else opens(now, again(disk));
    await bringBack(now.volume, now.caretaker, 1);
    await now.caretaker.settled();
    expect(now.notes).toContainEqual(expect.stringMatching(/^copy 1 was revalidated/));
    expect(now.volume.members.inSync & 0b110).toBe(0b110);
    await unmount(now);
  }
});

it("a copy that comes back beside one that was not told yet that content was lost is checked", async () => {
  const mount = await mounted(await formatted());
  const { volume, caretaker, copies, notes } = mount;
  await write(mount, "file");
  await takeOut(volume, caretaker, 1, { lasting: false });
  const disk = mount.devices[0] as SimulatedDevice;
  const flush = disk.flush.bind(disk);
  const errors = [lostContent, new DeviceError("disk", "flush", 0, "EIO")];
  disk.flush = () => {
    const error = errors.shift();
    return error === undefined ? flush() : Promise.reject(error);
  };
  // Not through the copy: as a flush of one that leaves.
  for (let i = 0; i < 2; i++) await expect(copies.copy(0)?.device.flush()).rejects.toThrow("cut off");
  await bringBack(volume, caretaker, 1);
  await caretaker.settled();
  expect(notes).toContainEqual(expect.stringMatching(/^copy 1 was revalidated/));
  await unmount(mount);
});

it("a device is written to as long as the heartbeat of each copy in use on it lasts, and no copy that is out limits it", async () => {
  const mount = await mounted(await formatted());
  const { volume, caretaker, copies } = mount;
  const limits: number[] = [];
  (mount.devices[0] as SimulatedDevice & { writeUntil?: (untilMs: number) => void }).writeUntil = (untilMs) =>
    void limits.push(untilMs);
  const beat = (index: number, untilMs: number): void =>
    void Object.assign(copies.copy(index)!, { writableUntilMs: untilMs });
  beat(0, 10_000);
  beat(1, 15_000);
  expect(limits.at(-1)).toBe(10_000);
  const old = copies.copy(0) as Copy;
  await takeOut(volume, caretaker, 0, { lasting: false });
  expect(limits.at(-1)).toBe(15_000);
  old.writableUntilMs = 11_000;
  expect(limits.at(-1)).toBe(15_000);
  await bringBack(volume, caretaker, 0);
  await caretaker.settled();
  expect(limits.at(-1)).toBe(15_000);
  beat(1, 20_000);
  expect(limits.at(-1)).toBe(20_000);
  await takeOut(volume, caretaker, 1, { lasting: false });
  expect(copies.copy(0)?.writableUntilMs).toBe(Infinity);
  expect(limits.at(-1)).toBe(Infinity);
  await unmount(mount);
});

it("a copy on a device that lost content is checked, although it failed for another reason in the same commit", async () => {
  const mount = await mounted(await formatted());
  const { volume, caretaker, copies, notes } = mount;
  await write(mount, "file");
  const disk = mount.devices[0] as SimulatedDevice;
  const { startBytes } = copies.copy(1)?.device as Range;
  const write1 = disk.write.bind(disk);
  const flush = disk.flush.bind(disk);
  let hasFailed = false;
  disk.write = (at, sources) => {
    if (at < startBytes || at >= startBytes + RING_AREA_KIB * KIB) return write1(at, sources);
    hasFailed = true;
    return Promise.reject(new DeviceError("disk", "write", at, "EIO"));
  };
  disk.flush = () => {
    if (!hasFailed) return flush();
    disk.flush = flush;
    return Promise.reject(lostContent);
  };
  await write(mount, "more");
  expect(copies.copies.map(({ untrusted }) => untrusted)).toEqual([true, true, false]);
  opens(mount, again(disk));
  for (const index of [0, 1]) await bringBack(volume, caretaker, index);
  await caretaker.settled();
  for (const index of [0, 1])
    expect(notes).toContainEqual(expect.stringMatching(new RegExp(`^copy ${index} was revalidated`)));
  await unmount(mount);
});

for (const isRefused of [false, true]) {
  it(`a copy is taken out while the other on its device is brought back, which is ${isRefused ? "refused" : "done"}`, async () => {
    const mount = await mounted(await formatted());
    const { volume, caretaker, copies } = mount;
    await write(mount, "file");
    await takeOut(volume, caretaker, 1, { lasting: false });
    const disk = mount.devices[0] as SimulatedDevice;
    const read = disk.read.bind(disk);
    let closes = 0;
    const close = disk.close.bind(disk);
    disk.close = () => (closes++, close());
    let ask!: () => void;
    let tell!: () => void;
    const asked = new Promise<void>((resolve) => (ask = resolve));
    const told = new Promise<void>((resolve) => (tell = resolve));
    disk.read = async (at, targets) => {
      ask();
      await told;
      return read(at, targets);
    };
    const back = bringBack(volume, caretaker, 1).catch(() => "refused");
    await asked;
    await takeOut(volume, caretaker, 0, { lasting: false });
    if (isRefused) await takeOut(volume, caretaker, 1, { lasting: false });
    expect(closes).toBe(0);
    tell();
    expect(await back).toBe(isRefused ? "refused" : undefined);
    await caretaker.settled();
    expect(copies.copy(1)?.standing).toBe(isRefused ? "offline" : "in-sync");
    expect(closes).toBe(isRefused ? 1 : 0);
    await unmount(mount);
  });
}

it("a range whose device is opened for another copy while its own one is forgotten is closed", async () => {
  const images = await formatted();
  const mount = await mounted(images.slice(1), { degraded: true });
  const { volume, caretaker, copies } = mount;
  const device = new SimulatedDevice("disk", 2 * COPY_BYTES, { image: images[0] as PagedImage });
  let closes = 0;
  const close = device.close.bind(device);
  device.close = () => (closes++, close());
  opens(mount, device);
  // Just before the commit that forgets copy 1.
  const change = volume.changeMembers.bind(volume);
  const isBare = (): boolean => refIsBare(volume.rootImage.view, rootFreemapOffset(1));
  let roots = 0;
  volume.changeMembers = async (body) => {
    if ((volume.members.leaving & 0b10) !== 0 && isBare() && roots++ === 0)
      await bringBack(volume, caretaker, 0, { target: "disk" });
    return change(body);
  };
  await detached(mount, 1);
  expect(roots).toBeGreaterThan(0);
  expect(copies.copies.map(({ index }) => index)).toEqual([0, 2]);
  expect(await listed(again(device))).toEqual([0]);
  await takeOut(volume, caretaker, 0, { lasting: false });
  expect(closes).toBe(1);
  await unmount(mount);
});
