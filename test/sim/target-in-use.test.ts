// A device that another host has mounted is refused before the first byte of it changes, whatever it is to become here (I11): its owner
// goes on, and finds all of its volume afterwards.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { isZero } from "../../src/base/uuid.ts";
import { DEADLINE_MS_DEFAULT } from "../../src/copies/deadline.ts";
import { LEASE_MS_DEFAULT } from "../../src/copies/in-use.ts";
import type { OpenTarget } from "../../src/copies/targets.ts";
import { type BlockDevice, DeviceError } from "../../src/device/device.ts";
import { FORMAT_VERSION } from "../../src/format/features.ts";
import { encodeHeartbeat } from "../../src/format/heartbeat.ts";
import { replaceNode } from "../../src/walk/replace-node.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formattedRows } from "./copies-scene.ts";
import { Far, type FarMount, nameOf, SETTLE_MS } from "./far-scene.ts";

const SEED = 9300;
const STALE = encodeHeartbeat(new Uint8Array(16).fill(1), new Uint8Array(16).fill(2), new Uint8Array(16).fill(9), 7);

/** Host a has a volume of two copies, the second of two nodes; another volume is on device 3. */
async function twoVolumes(): Promise<{ far: Far; a: FarMount; target: OpenTarget }> {
  const far = new Far(await formattedRows(SEED, [[18 * MIB], [18 * MIB, 18 * MIB]]), SEED);
  const [other] = await formattedRows(SEED + 1, [[20 * MIB]]);
  far.provide(20 * MIB, other);
  return { far, a: await far.mount("a", [[0], [1, 2]]), target: { name: nameOf(3), devices: [far.open("a", 3)] } };
}

const uses: readonly [string, (mounted: FarMount, target: OpenTarget) => Promise<unknown>][] = [
  ["a new copy", ({ caretaker }, target) => caretaker.attach(target, { random: new SeededRandom(SEED) })],
  ["in the place of a copy", ({ caretaker }, target) => caretaker.replace(0, target)],
  ...[0, 1].map((position): (typeof uses)[number] => [
    `in the place of node ${position}`,
    ({ volume, caretaker }, target) => replaceNode(volume, caretaker, { index: 1, position }, target),
  ]),
];

describe("a target that another host has mounted", () => {
  for (const [what, use] of uses) {
    it(`is refused with nothing changed: ${what}`, async () => {
      const { far, a, target } = await twoVolumes();
      const b = await far.mount("b", [[3]]);
      const inSync = a.volume.members.inSync;
      const before = far.network.issued.length;
      await expect(far.done(use(a, target))).rejects.toThrow(/far\/3: is in use by another host/);
      const ours = far.network.issued
        .slice(before)
        .filter(({ host, device }) => host.name === "a" && device === nameOf(3));
      expect(ours).toEqual([]);
      await far.pass(LEASE_MS_DEFAULT);
      await far.done(b.volume.forceCommit());
      expect([a.volume.readOnly, b.volume.readOnly, a.volume.members.inSync]).toEqual([undefined, undefined, inSync]);
      await far.unmount(b);
      await far.unmount(await far.mount("c", [[3]]));
      // Then it can be had at once.
      const startMs = far.clock.monotonicMs();
      await far.done(use(a, target));
      expect(far.clock.monotonicMs() - startMs).toBeLessThan(2 * SETTLE_MS);
      await far.done(a.caretaker.settled());
      expect(a.volume.readOnly).toBeUndefined();
      await far.unmount(a);
    });
  }

  it("is watched for a lease when its host is gone, and for another one when it is claimed", async () => {
    const { far, a, target } = await twoVolumes();
    const b = await far.mount("b", [[3]]);
    const { uuid } = b.copies.copy(0)!;
    await far.unmount(b);
    const stale = encodeHeartbeat(b.volume.uuid, uuid, new Uint8Array(16).fill(9), 7);
    far.putBeat(3, stale);
    const startMs = far.clock.monotonicMs();
    await far.done(a.caretaker.attach(target));
    const tookMs = far.clock.monotonicMs() - startMs;
    expect(tookMs).toBeGreaterThanOrEqual(LEASE_MS_DEFAULT);
    expect(tookMs).toBeLessThan(2.5 * LEASE_MS_DEFAULT);
    await far.done(a.caretaker.settled());
    await far.unmount(a);
    expect(isZero(far.beatOn(3))).toBe(true);
  });

  it("is looked at again right before it is written to: a node may be long in being emptied", async () => {
    const { far, a, target } = await twoVolumes();
    const look = a.volume.refuseInUse.bind(a.volume);
    let goOn: () => void = () => undefined;
    const emptied = new Promise<void>((resolve) => (goOn = resolve));
    a.volume.refuseInUse = async (asked): Promise<void> => {
      await look(asked);
      await emptied;
    };
    const replaced = replaceNode(a.volume, a.caretaker, { index: 1, position: 1 }, target);
    replaced.catch(() => undefined);
    await far.pass(SETTLE_MS);
    const b = await far.mount("b", [[3]]);
    goOn();
    await expect(far.done(replaced)).rejects.toThrow(/in use by another host/);
    await far.unmount(b);
    await far.unmount(await far.mount("c", [[3]]));
    await far.unmount(a);
  });

  it("is seen although another target has a heartbeat left behind, which is watched", async () => {
    const { far, a, target } = await twoVolumes();
    far.putBeat(far.provide(20 * MIB, (await formattedRows(SEED + 2, [[20 * MIB]]))[0]), STALE);
    const both = { name: "both", devices: [far.open("a", 4), ...target.devices] };
    const looked = a.volume.refuseInUse(both);
    looked.catch(() => undefined);
    await far.pass(SETTLE_MS / 2);
    const b = await far.mount("b", [[3]]);
    await expect(far.done(looked)).rejects.toThrow(/far\/3: is in use by another host/);
    await far.unmount(b);
    await far.unmount(a);
  });

  it("is not free because it can't be read", async () => {
    const { far, a, target } = await twoVolumes();
    const [device] = target.devices as [BlockDevice];
    const read = (offsetBytes: number): Promise<void> =>
      Promise.reject(new DeviceError(device.name, "read", offsetBytes, "EIO"));
    const unreadable = { name: "unreadable", devices: [Object.assign(Object.create(device) as BlockDevice, { read })] };
    await expect(far.done(a.volume.refuseInUse(unreadable))).rejects.toThrow(DeviceError);
    await far.unmount(a);
  });

  it("is not free because it can't be told: a later node of a row", async () => {
    const far = new Far(await formattedRows(SEED, [[18 * MIB], [18 * MIB, 18 * MIB]]), SEED);
    for (const image of await formattedRows(SEED + 3, [[18 * MIB, 18 * MIB]])) far.provide(18 * MIB, image);
    const [a, b] = [await far.mount("a", [[0], [1, 2]]), await far.mount("b", [[3, 4]])];
    const later = { name: nameOf(4), devices: [far.open("a", 4)] };
    const before = far.network.issued.length;
    for (const [, use] of uses) await expect(far.done(use(a, later))).rejects.toThrow(/far\/4: .* only its first node/);
    const ours = far.network.issued
      .slice(before)
      .filter(({ host, device }) => host.name === "a" && device === nameOf(4));
    expect(ours).toEqual([]);
    await far.unmount(b);
    // With its first node it can be told.
    const row = { name: "row", devices: [far.open("a", 3), far.open("a", 4)] };
    await far.done(a.volume.refuseInUse(row));
    // Nobody else has a copy of ours in use: its first node is.
    await far.done(a.volume.refuseInUse({ name: nameOf(2), devices: [far.open("a", 2)] }));
    await far.unmount(a);
  });

  it("is not free because it can't be told: a volume of a later format", async () => {
    const { far, a, target } = await twoVolumes();
    far.putHeader(3, { formatVersion: FORMAT_VERSION + 1 });
    for (const [, use] of uses) await expect(far.done(use(a, target))).rejects.toThrow(/far\/3: .* format version 2/);
    await far.unmount(a);
  });

  it("is watched only where all else is right with it", async () => {
    const { far, a, target } = await twoVolumes();
    far.putBeat(3, STALE);
    const small = far.provide(MIB);
    const startMs = far.clock.monotonicMs();
    const refused = async (work: Promise<unknown>, why: RegExp): Promise<void> => {
      await expect(far.done(work)).rejects.toThrow(why);
      expect(far.clock.monotonicMs() - startMs).toBeLessThan(SETTLE_MS);
    };
    const both = { name: "both", devices: [...target.devices, far.open("a", small)] };
    await refused(a.caretaker.attach({ name: nameOf(small), devices: [far.open("a", small)] }), /too small/);
    await refused(a.caretaker.replace(7, target), /no copy of the volume/);
    const node = (index: number, given: OpenTarget): Promise<unknown> =>
      replaceNode(a.volume, a.caretaker, { index, position: 0 }, given);
    await refused(node(1, both), /a node is one device/);
    await refused(node(0, target), /single node/);
    await far.unmount(a);
  });

  for (const operation of ["read", "write"] as const) {
    it(`does not keep a volume for long that is let go of, when it hangs (${operation})`, async () => {
      for (const [what, use] of uses) {
        const { far, a, target } = await twoVolumes();
        const [device] = target.devices as [BlockDevice];
        const hanging = { [operation]: (): Promise<void> => new Promise(() => undefined) };
        const hung = { ...target, devices: [Object.assign(Object.create(device) as BlockDevice, hanging)] };
        const used = use(a, hung);
        used.catch(() => undefined);
        await far.pass(SETTLE_MS);
        const startMs = far.clock.monotonicMs();
        await far.unmount(a);
        const tookMs = far.clock.monotonicMs() - startMs;
        expect(tookMs, what).toBeLessThan(SETTLE_MS + (operation === "read" ? 0 : DEADLINE_MS_DEFAULT));
        if (operation === "read") await expect(far.done(used), what).rejects.toThrow(/let go of/);
      }
    });
  }

  it("is not watched while the volume is let go of", async () => {
    const { far, a, target } = await twoVolumes();
    far.putBeat(3, encodeHeartbeat(a.volume.uuid, a.volume.uuid, new Uint8Array(16).fill(9), 7));
    const replaced = replaceNode(a.volume, a.caretaker, { index: 1, position: 1 }, target);
    replaced.catch(() => undefined);
    await far.pass(LEASE_MS_DEFAULT / 8);
    const startMs = far.clock.monotonicMs();
    await far.unmount(a);
    expect(far.clock.monotonicMs() - startMs).toBeLessThan(SETTLE_MS);
    await expect(far.done(replaced)).rejects.toThrow(/let go of/);
  });
});

it.each([0, 1000, 4000])(
  "of two hosts that attach one device one gets it, and neither loses its volume (flushes of %i ms)",
  async (slowMs) => {
    const volumes = await Promise.all([0, 1].map((i) => formattedRows(SEED + 10 + i, [[18 * MIB]])));
    const far = new Far(volumes[0] ?? [], SEED);
    far.provide(18 * MIB, volumes[1]?.[0]);
    const free = far.provide(20 * MIB);
    const [a, b] = [await far.mount("a", [[0]]), await far.mount("b", [[1]])];
    const target = (host: string): OpenTarget => ({ name: nameOf(free), devices: [far.open(host, free)] });
    const [device] = target("b").devices as [BlockDevice];
    let slow = 2;
    const flush = async (): Promise<void> => {
      if (slow-- > 0) await far.pass(slowMs);
      await device.flush();
    };
    const late = { name: nameOf(free), devices: [Object.assign(Object.create(device) as BlockDevice, { flush })] };
    const both = Promise.allSettled([
      a.caretaker.attach(target("a"), { random: new SeededRandom(1) }),
      b.caretaker.attach(late, { random: new SeededRandom(2) }),
    ]);
    expect((await far.done(both)).map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    await far.pass(LEASE_MS_DEFAULT);
    expect([a.copies.fenced, b.copies.fenced, a.volume.readOnly, b.volume.readOnly]).toEqual(Array(4).fill(undefined));
    for (const { caretaker } of [a, b]) await far.done(caretaker.settled());
    await far.unmount(a);
    await far.unmount(b);
  },
);
