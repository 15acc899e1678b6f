// A node of a row that holds file data under copies=K moves to another device: what was on it alone is on another copy before
// (I1, I5). Where that can't be, the node stays; and a new device that did not become the node is none for anybody.

import { afterEach, expect, it, vi } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { CopiesError } from "../../src/copies/errors.ts";
import type { ConnectionReport, DeviceReport } from "../../src/device/device.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { hasNodeHeaderMagic, NODE_HEADER_BYTES } from "../../src/format/node-header.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { Comeback } from "../../src/walk/comeback.ts";
import { replaceNode } from "../../src/walk/replace-node.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import {
  bulk,
  copiesOf,
  findings,
  formattedRows,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  mountOn,
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

function replace(
  { volume, caretaker }: Mounted,
  position: number,
  device: SimulatedDevice,
  abandon = false,
): Promise<void> {
  const which = { index: COPY, position, abandon };
  return replaceNode(volume, caretaker, which, targetOf(device), new SeededRandom(position + 5));
}

const newDevice = (): SimulatedDevice => new SimulatedDevice("new", 30 * MIB);

/** Writes until nothing more has room. */
async function fill({ fs }: Mounted): Promise<void> {
  for (let i = 0; ; i++) {
    const at = [`full${i}`];
    await runStep(fs, { do: "create", at });
    const got = await runStep(fs, { do: "write", at, offset: 0, length: 65536, fill: i });
    if (got !== "ok") return;
  }
}

/** From now on the device does nothing that it is asked. */
function die(device: SimulatedDevice | undefined, code = "EIO"): void {
  for (const operation of ["write", "flush", "read"] as const)
    device?.fail({ operation, nth: 1, permanent: true, effect: { kind: "error", code } });
}

/** It says of itself that it is on a server, and how the connection is: before it is read, and afterwards. */
function isRemote(device: SimulatedDevice, states: readonly ConnectionReport["state"][]): void {
  const counts = { connections: 0, inFlight: 0, unflushedBytes: 0, resent: 0, reconnects: 0, roundTripMs: 1 };
  const before = device.calls.read;
  const report = (): DeviceReport => {
    const state = (device.calls.read === before ? states[0] : states.at(-1))!;
    return { kind: "remote", connection: { state, address: "a", addresses: ["a"], ...counts } };
  };
  Object.assign(device, { report });
}

/** Something is written to both copies, which shows what has failed. */
async function writeToAll(work: Workload, { fs, volume }: Mounted): Promise<void> {
  await setCopies(fs, "", "all");
  await bulk(work, fs, "more", MIB);
  await volume.forceCommit();
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
    const device = newDevice();
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
    await fill(mounted);
    await mounted.volume.forceCommit();
    const device = newDevice();
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
      die(mounted.devices[2]);
      await writeToAll(work, mounted);
    } else await takeOut(mounted.volume, mounted.caretaker, COPY, { lasting: false, node: 1 });
    expect(mounted.volume.members.inSync).toBe(0b01);
    const device = newDevice();
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

it.each([
  ["its file can't be reached any more", "ESTALE", [], false],
  ["no server was there for it", "ENOTCONN", ["given-up"], false],
  ["its server came back with another lease", "ESTALE", ["given-up"], false],
  ["its server came back without what it had said was flushed", "EIO", ["given-up"], false],
  ["its server said that its own disk fails, and went away", "EIO", ["connected", "given-up"], false],
  ["its server says that its own disk fails", "EIO", ["connected"], true],
] as const)("a node that may still have everything stays, one that failed itself goes: %s", async (...given) => {
  const [, code, states, goes] = given;
  const seed = 6525;
  const { work, mounted } = await narrowRows(seed);
  const { devices, volume, notes } = mounted;
  die(devices[2], code);
  await writeToAll(work, mounted);
  expect(volume.members.inSync).toBe(0b01);
  if (states.length > 0) isRemote(devices[2]!, states);
  const device = newDevice();
  if (goes) await replace(mounted, 1, device);
  else await expect(replace(mounted, 1, device)).rejects.toThrow(/can't be read; .*h2ts online DIR 1/);
  expect(device.calls.write > 0).toBe(goes);
  await settle(mounted);
  expect(volume.members.inSync, notes.join("\n")).toBe(goes ? 0b11 : 0b01);
  await unmount(mounted);
});

for (const position of [0, 1]) {
  it(`node ${position}: stays while its copy is out only because a node was late, and nothing was tried to be read`, async () => {
    const seed = 6540 + position;
    const { work, mounted } = await narrowRows(seed);
    const { clock, copies, devices, volume, notes } = mounted;
    let answer = (): void => undefined;
    const until = new Promise<void>((resolve) => (answer = resolve));
    devices[2]!.fail({ operation: "write", nth: 1, effect: { kind: "late", until } });
    const written = writeToAll(work, mounted);
    while (volume.members.inSync !== 0b01) await clock.advance(1000);
    answer();
    await written;
    expect(copies.copy(COPY)).toMatchObject({ standing: "faulted", stalled: true });
    const device = newDevice();
    await expect(replace(mounted, position, device)).rejects.toThrow(
      /alone holds \d+ blocks .* bring it back first \(h2ts online DIR 1\)/,
    );
    expect(device.calls.write).toBe(0);
    expect(hasHeader(devices[1 + position]!)).toBe(true);
    // The operator knows better.
    await replace(mounted, position, device, true);
    expect(notes.join("\n")).toMatch(new RegExp(`node 1/${position} alone holds \\d+ blocks .* lost with it`));
    await settle(mounted);
    expect(volume.members.inSync, notes.join("\n")).toBe(0b11);
    await unmount(mounted);
    const images = withNew(imagesOf(devices), position, device);
    expect(await rightOrGone(seed, images, await work.tree())).toBeGreaterThan(0);
  });
}

it("a replacement that fails when the copy is out of use already leaves it to be caught up; tried again it loses nothing", async () => {
  for (const comesBack of [true, false]) {
    const seed = 6550;
    const { work, mounted } = await narrowRows(seed);
    const { volume, caretaker, notes, devices } = mounted;
    const walk = caretaker.walk.bind(caretaker);
    const walked = vi.spyOn(caretaker, "walk").mockImplementationOnce(walk);
    walked.mockRejectedValueOnce(new CopiesError("only-holder", "copy 1", "no room any more"));
    if (!comesBack) vi.spyOn(caretaker, "takeBack").mockRejectedValueOnce(new Error("no anchor"));
    const first = newDevice();
    const told = comesBack
      ? /^copy 1: no room any more$/
      : /copy 1 is out of sync \(h2ts online DIR 1 .*no room any more/;
    await expect(replace(mounted, 1, first)).rejects.toThrow(told);
    expect(walked.mock.calls.length).toBeGreaterThanOrEqual(2);
    expect(hasHeader(first)).toBe(false);
    await settle(mounted);
    expect(volume.members.inSync, notes.join("\n")).toBe(comesBack ? 0b11 : 0b01);
    const second = newDevice();
    await replace(mounted, 1, second);
    await settle(mounted);
    expect(volume.members.inSync, notes.join("\n")).toBe(0b11);
    await unmount(mounted);
    const images = withNew(imagesOf(devices), 1, second);
    expect(await findings(seed, images, { everyRoot: true })).toEqual([]);
    expect(await treeOf(seed, images)).toBe(await work.tree());
    vi.restoreAllMocks();
  }
});

it("a node that is suspended goes if the operator gives up what it alone holds", async () => {
  const seed = 6560;
  const { work, mounted } = await narrowRows(seed);
  await takeOut(mounted.volume, mounted.caretaker, COPY, { lasting: false, node: 1 });
  const device = newDevice();
  // Its medium is gone for good: to try to bring it back changes nothing.
  await expect(bringBack(mounted.volume, mounted.caretaker, COPY)).rejects.toThrow(/copy2/);
  await expect(replace(mounted, 1, device)).rejects.toThrow(/give them up with --abandon/);
  await replace(mounted, 1, device, true);
  await settle(mounted);
  expect(mounted.volume.members.inSync, mounted.notes.join("\n")).toBe(0b11);
  await unmount(mounted);
  const images = withNew(imagesOf(mounted.devices), 1, device);
  expect(await rightOrGone(seed, images, await work.tree())).toBeGreaterThan(0);
});

it("a node that failed is not held up by what has no room and can't be read; one that can be is only by the operator's word", async () => {
  for (const readable of [false, true]) {
    const seed = 6570;
    const { mounted } = await narrowRows(seed, 4, [[17 * MIB], [17 * MIB, 19 * MIB]]);
    const { volume, devices, notes } = mounted;
    await fill(mounted);
    await volume.forceCommit();
    if (readable) devices[2]!.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    else die(devices[2]);
    await volume.forceCommit();
    expect(volume.members.inSync).toBe(0b01);
    const device = newDevice();
    if (readable) await expect(replace(mounted, 1, device)).rejects.toThrow(/no room on other copies/);
    await replace(mounted, 1, device, readable);
    expect(notes.join("\n")).toMatch(/node 1\/1 alone holds \d+ blocks .* lost with it/);
    expect(mounted.copies.copy(COPY)?.targets).toEqual(["copy1", "new"]);
    await unmount(mounted);
  }
});

it("closing stops it and waits for what is under way; nobody brings the copy back meanwhile", async () => {
  for (const pass of [1, 2]) {
    const seed = 6580;
    const first = await narrowRows(seed);
    await unmount(first.mounted);
    const images = imagesOf(first.mounted.devices);
    const devices = images.map(
      (image, i) => new SimulatedDevice(`nbd://far/${i}`, image!.sizeBytes, { image: image! }),
    );
    const mounted = await mountOn(seed, devices, await copiesOf(seed, devices));
    const { volume, caretaker, copies, clock } = mounted;
    const answers = vi.fn(() => Promise.resolve(true));
    const comeback = new Comeback(volume, caretaker, { clock, answers, onNote: () => undefined });
    comeback.start();
    const device = newDevice();
    let go = (): void => undefined;
    const held = new Promise<void>((resolve) => (go = resolve));
    const walk = caretaker.walk.bind(caretaker);
    let passes = 0;
    let isHeld = false;
    vi.spyOn(caretaker, "walk").mockImplementation((stoppable, run) =>
      // The first pass finds nothing, if it is the second that is looked at.
      ++passes < pass ? Promise.resolve(true as never) : walk(stoppable, run),
    );
    const writeBlocks = copies.writeBlocks.bind(copies);
    vi.spyOn(copies, "writeBlocks").mockImplementation(async (writes) => {
      if (passes === pass) {
        isHeld = true;
        await held;
      }
      return writeBlocks(writes);
    });
    const replaced = replace(mounted, 1, device).catch((error: unknown) => error);
    await vi.waitUntil(() => isHeld);
    for (let i = 0; i < 4; i++) await clock.advance(2000);
    let closed = false;
    const closing = Promise.all([caretaker.close(), comeback.close()]).then(() => void (closed = true));
    await new Promise((resolve) => setImmediate(resolve));
    expect(closed).toBe(false);
    go();
    await closing;
    expect(await replaced).toMatchObject({ kind: "busy" });
    const calls = [...devices, device].map(({ calls: { write } }) => write);
    await clock.advance(60_000);
    expect([...devices, device].map(({ calls: { write } }) => write)).toEqual(calls);
    expect(answers).not.toHaveBeenCalled();
    expect(volume.members.inSync).toBe(pass === 1 ? 0b11 : 0b01);
    expect(hasHeader(device)).toBe(false);
    await volume.close();
    expect(await treeOf(seed, images)).toBe(await first.work.tree());
    vi.restoreAllMocks();
  }
});

it("a device that did not become the node is given up, and the copy comes back with the old one", async () => {
  const seed = 6530;
  const { work, mounted } = await narrowRows(seed);
  const { volume, caretaker, copies, devices } = mounted;
  const device = newDevice();
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
