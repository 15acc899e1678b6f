// An unmount, or a hand-over, while a copy that other hosts can reach is being claimed (I11): the volume never takes what it writes itself
// for a stranger's, its last commit is made, and no heartbeat stays behind, for which the next mount would wait a lease.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { isZero, randomUuid } from "../../src/base/uuid.ts";
import { Copy, CopySet } from "../../src/copies/copy-set.ts";
import { Heartbeat } from "../../src/copies/heartbeat.ts";
import { LEASE_MS_DEFAULT } from "../../src/copies/in-use.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { encodeHeartbeat, HEARTBEAT_BYTES, HEARTBEAT_OFFSET_BYTES } from "../../src/format/heartbeat.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { replaceNode } from "../../src/walk/replace-node.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formattedRows } from "./copies-scene.ts";
import { Far, LONG_MS, nameOf, SETTLE_MS } from "./far-scene.ts";
import { Host, Network } from "./hosts.ts";
import { within } from "./virtual-time.ts";

const SEED = 9200;

it("an unmount while a node is replaced fences nothing, and leaves no heartbeat", async () => {
  for (let seed = 1; seed <= 14; seed++) {
    const atMs = 1000 + 100 * seed;
    const random = new SeededRandom(seed);
    const far = new Far(await formattedRows(SEED, [[18 * MIB], [18 * MIB, 18 * MIB]]), seed, 40);
    const a = await far.mount("a", [[0], [1, 2]]);
    await far.pass(random.below(LEASE_MS_DEFAULT / 4));
    const target = { name: nameOf(3), devices: [far.open("a", far.provide(20 * MIB))] };
    const replaced = Promise.allSettled([
      replaceNode(a.volume, a.caretaker, { index: 1, position: 1 }, target, random),
    ]);
    await far.pass(atMs);
    await far.unmount(a);
    const [{ status }] = await far.done(replaced);
    const where = `seed ${seed}, unmount after ${atMs} ms, replace ${status}`;
    expect(a.copies.fenced?.message, where).toBeUndefined();
    expect(
      [0, 1].map((node) => isZero(far.beatOn(node))),
      where,
    ).toEqual([true, true]);
  }
});

interface Joining {
  readonly clock: SimulatedClock;
  readonly network: Network;
  readonly devices: readonly SimulatedDevice[];
  readonly set: CopySet;
  readonly heartbeat: Heartbeat;
  readonly joins: Copy;
  /** Whether each of them has a heartbeat. */
  readonly beats: () => boolean[];
}

/** Copy 0 is in use; copy 1 is to join, with a heartbeat of `before`, if any. */
async function joining(seed: number, before?: number): Promise<Joining> {
  const clock = new SimulatedClock();
  const random = new SeededRandom(seed);
  const network = new Network(clock, new SeededRandom(seed ^ 0x5555), 40);
  const host = new Host("a", clock);
  const devices = [0, 1].map((i) => new SimulatedDevice(`copy${i}`, 16 * MIB));
  const [stays, joins] = devices.map(
    (device, i) => new Copy(i, randomUuid(random), network.attach(host, device), [device.name]),
  ) as [Copy, Copy];
  const set = new CopySet([stays], { volumeUuid: randomUuid(random), clock });
  const heartbeat = await within(clock, LONG_MS, Heartbeat.claim(set, { random }));
  if (before !== undefined) {
    const beat = encodeHeartbeat(set.volumeUuid, joins.uuid, new Uint8Array(16).fill(before), 1);
    await devices[1]!.write(HEARTBEAT_OFFSET_BYTES, [beat]);
  }
  const beats = (): boolean[] =>
    devices.map(({ image }) => {
      const bytes = new Uint8Array(HEARTBEAT_BYTES);
      image.read(HEARTBEAT_OFFSET_BYTES, bytes);
      return !isZero(bytes);
    });
  return { clock, network, devices, set, heartbeat, joins, beats };
}

const pass = async (clock: SimulatedClock, durationMs: number): Promise<void> => {
  for (let passedMs = 0; passedMs < durationMs; passedMs += 20) await clock.advance(20);
};

describe("a copy that joins", () => {
  it("is given free once, by whoever does so first", async () => {
    for (let seed = 1; seed <= 40; seed++) {
      const { clock, set, heartbeat, joins, beats } = await joining(seed);
      await within(clock, LONG_MS, heartbeat.admit(joins));
      const both = [heartbeat.release(), heartbeat.dismiss(joins)];
      await within(clock, LONG_MS, Promise.all(seed % 2 === 0 ? both : both.reverse()));
      await within(clock, LONG_MS, heartbeat.dismiss(joins));
      expect(set.fenced?.message, `seed ${seed}`).toBeUndefined();
      expect(beats(), `seed ${seed}`).toEqual([false, false]);
    }
  });

  it("is nobody's once it was given free, also for what the copy was before", async () => {
    const { clock, set, heartbeat, joins, beats } = await joining(SEED);
    await within(clock, LONG_MS, heartbeat.admit(joins));
    set.add(joins);
    await pass(clock, LEASE_MS_DEFAULT / 2);
    joins.standing = "faulted"; // Taken out, and not given free by that: its other nodes are gone on with.
    const fresh = new Copy(1, joins.uuid, joins.device, joins.targets);
    const admitted = Promise.allSettled([heartbeat.admit(fresh)]);
    await pass(clock, SETTLE_MS / 2);
    heartbeat.admitNoMore();
    const [{ status }] = await within(clock, LONG_MS, admitted);
    expect(status).toBe("rejected");
    expect(beats()).toEqual([true, false]);
    await pass(clock, LEASE_MS_DEFAULT / 2);
    expect(set.fenced?.message).toBeUndefined();
    expect(beats()).toEqual([true, false]);
    await within(clock, LONG_MS, heartbeat.release());
  });

  it("is given free by what it was before, when it fails as it is claimed", async () => {
    const { clock, devices, set, heartbeat, joins, beats } = await joining(SEED);
    await within(clock, LONG_MS, heartbeat.admit(joins));
    set.add(joins);
    await pass(clock, LEASE_MS_DEFAULT / 2);
    joins.standing = "faulted";
    const fresh = new Copy(1, joins.uuid, joins.device, joins.targets);
    devices[1]?.fail({ operation: "read", nth: 1, effect: { kind: "error", code: "EIO" } });
    await expect(within(clock, LONG_MS, heartbeat.admit(fresh))).rejects.toThrow(/EIO/);
    await within(clock, LONG_MS, heartbeat.release());
    expect(set.fenced?.message).toBeUndefined();
    expect(beats()).toEqual([false, false]);
  });

  it("is given free before the volume is, when its claim has not settled", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const { clock, set, heartbeat, joins, beats } = await joining(seed);
      const admitted = Promise.allSettled([heartbeat.admit(joins)]);
      await pass(clock, 150 * seed);
      const startMs = clock.monotonicMs();
      await within(clock, LONG_MS, heartbeat.release());
      expect(beats(), `seed ${seed}`).toEqual([false, false]);
      expect(clock.monotonicMs() - startMs, `seed ${seed}`).toBeLessThanOrEqual(1.5 * SETTLE_MS);
      await within(clock, LONG_MS, admitted);
      expect(set.fenced?.message, `seed ${seed}`).toBeUndefined();
    }
  });

  it("holds nobody up while a heartbeat on it is watched, of which nothing is written over", async () => {
    const { clock, heartbeat, joins, beats } = await joining(SEED, 9);
    const admitted = Promise.allSettled([heartbeat.admit(joins)]);
    await pass(clock, LEASE_MS_DEFAULT / 8);
    const startMs = clock.monotonicMs();
    await within(clock, LONG_MS, heartbeat.release());
    expect(clock.monotonicMs() - startMs).toBeLessThan(SETTLE_MS / 2);
    const [end] = await within(clock, LONG_MS, admitted);
    expect(String((end as PromiseRejectedResult).reason)).toMatch(/let go of/);
    expect(beats()).toEqual([false, true]);
  });

  it("leaves no heartbeat when it was just being brought back", async () => {
    const far = new Far(await formattedRows(SEED, [[18 * MIB], [20 * MIB]]), SEED);
    const a = await far.mount("a", [[0], [1]]);
    await far.done(takeOut(a.volume, a.caretaker, 1, { lasting: false }));
    const back = bringBack(a.volume, a.caretaker, 1);
    back.catch(() => undefined);
    await far.pass(SETTLE_MS / 2);
    expect(isZero(far.beatOn(1))).toBe(false);
    await far.unmount(a);
    expect([0, 1].map((index) => isZero(far.beatOn(index)))).toEqual([true, true]);
    await expect(far.done(back)).rejects.toThrow(/let go of/);
  });
});

it("what is claimed is given free while its lease lasts, however long another one settles (I11)", async () => {
  const { clock, network, devices, set, heartbeat, joins, beats } = await joining(SEED);
  // Shortly before the next beat the lease has little left.
  const issued = network.issued.length;
  while (network.issued.length === issued) await clock.advance(20);
  await pass(clock, (LEASE_MS_DEFAULT / 4) * 0.9);
  devices[1]?.fail({ operation: "read", nth: 1, effect: { kind: "hang" } });
  const admitted = Promise.allSettled([heartbeat.admit(joins)]);
  await clock.advance(20);
  await within(clock, LONG_MS, heartbeat.release());
  expect([beats()[0], set.copy(0)?.failure]).toEqual([false, undefined]);
  await within(clock, LONG_MS, admitted);
});
