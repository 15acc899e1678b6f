// Two writers never mount one volume (I11): hosts that reach the same devices claim the volume, write, stop for a while and
// wake up, in every order that a seed gives. Whoever has claimed it, nobody else writes after that.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { Copy, CopySet } from "../../src/copies/copy-set.ts";
import { Heartbeat } from "../../src/copies/heartbeat.ts";
import { LEASE_MS_DEFAULT } from "../../src/copies/in-use.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import type { BlockDevice } from "../../src/device/device.ts";
import { encodeHeartbeat, HEARTBEAT_BYTES, HEARTBEAT_OFFSET_BYTES } from "../../src/format/heartbeat.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { openVolume, type OpenOptions } from "../../src/volume/open.ts";
import type { Volume } from "../../src/volume/volume.ts";
import { MIB } from "../model/simulated-volume.ts";
import { freeze, thaw } from "../../src/walk/freeze.ts";
import { formatted } from "./copies-scene.ts";
import { Host, Network } from "./hosts.ts";

class World {
  readonly clock = new SimulatedClock();
  readonly random: SeededRandom;
  readonly network: Network;
  readonly devices: readonly SimulatedDevice[];
  readonly #seed: number;

  constructor(seed: number, devices: readonly SimulatedDevice[], delayMsMax: number, formatSeed = seed) {
    this.random = new SeededRandom(seed);
    this.network = new Network(this.clock, new SeededRandom(seed ^ 0x3333), delayMsMax);
    this.devices = devices;
    this.#seed = formatSeed;
  }

  host(name: string): { host: Host; copies: CopySet } {
    const host = new Host(name, this.clock);
    const identities = new SeededRandom(this.#seed);
    const volumeUuid = randomUuid(identities);
    const copies = this.devices.map(
      (device, i) => new Copy(i, randomUuid(identities), this.network.attach(host, device), [device.name]),
    );
    return { host, copies: new CopySet(copies, { volumeUuid, clock: host.clock }) };
  }

  async pass(durationMs: number): Promise<void> {
    const untilMs = this.clock.monotonicMs() + durationMs;
    while (this.clock.monotonicMs() < untilMs) {
      for (let turn = 0; turn < 3; turn++) await this.clock.advance(0);
      await this.clock.advance(Math.min(50, untilMs - this.clock.monotonicMs()));
    }
  }

  async result<T>(work: Promise<T>, limitMs = 200_000): Promise<T> {
    let over = false;
    const watched = work.finally(() => (over = true));
    watched.catch(() => undefined);
    for (let passedMs = 0; !over && passedMs < limitMs; passedMs += 50) await this.pass(50);
    if (!over) throw new Error(`not over after ${limitMs} ms`);
    return watched;
  }

  /** Writes of blocks and roots, the heartbeat left out. */
  writesOf(host: Host): { issuedMs: number; arrivedMs: number | undefined }[] {
    return this.network.issued.filter((one) => one.host === host && one.offsetBytes !== HEARTBEAT_OFFSET_BYTES);
  }
}

interface Claimed {
  readonly host: Host;
  readonly claimedMs: number;
}

/** Hosts that come, claim, write a block now and then, stop and go on; who claimed the volume, in that order. */
async function compete(
  seed: number,
  delayMsMax: number,
): Promise<{ world: World; claimed: Claimed[]; refused: number }> {
  const devices = [0, 1].map((i) => new SimulatedDevice(`copy${i}`, 16 * MIB));
  const world = new World(seed, devices, delayMsMax);
  const { random } = world;
  const claimed: Claimed[] = [];
  let refused = 0;
  for (let i = 0; i < 3; i++) {
    const { host, copies } = world.host(`host ${i}`);
    const write = (): void => {
      const pointers = [256 + i * 64, 256 + i * 64, 0, 0, 0, 0, 0, 0];
      const bytes = new Uint8Array(1024).fill(i);
      void copies.writeBlocks([{ pointers, bytes }]).catch(() => undefined);
      host.clock.after(50 + random.below(400), write);
    };
    world.clock.after(random.below(seed % 2 === 0 ? 60_000 : 500), () => {
      Heartbeat.claim(copies, { random }).then(
        () => {
          if (copies.active.length < 2) return;
          claimed.push({ host, claimedMs: world.clock.monotonicMs() });
          write();
        },
        () => refused++,
      );
    });
    for (let pause = 0; pause < 3; pause++) {
      // Half of them while it claims the volume.
      const atMs = random.below(random.below(2) === 0 ? 2000 : 120_000);
      world.clock.after(atMs, () => host.stop());
      world.clock.after(atMs + random.below(random.below(2) === 0 ? 3000 : 60_000), () => host.goOn());
    }
  }
  await world.pass(180_000);
  return { world, claimed, refused };
}

describe("hosts that want one volume", () => {
  it("never write both: when one has claimed it, no other issues a write, however it was stopped (I11)", async () => {
    let [claims, takeOvers, refusals] = [0, 0, 0];
    for (let seed = 1; seed <= 200; seed++) {
      const { world, claimed, refused } = await compete(seed, [0, 0, 20, 300, 300, 900][seed % 6] as number);
      claims += claimed.length;
      takeOvers += Math.max(0, claimed.length - 1);
      refusals += refused;
      for (const { host, claimedMs } of claimed) {
        for (const other of claimed) {
          if (other.host === host || other.claimedMs > claimedMs) continue;
          const late = world.writesOf(other.host).filter(({ issuedMs }) => issuedMs >= claimedMs);
          expect(late, `seed ${seed}: ${other.host.name} after ${host.name} claimed at ${claimedMs}`).toEqual([]);
        }
      }
    }
    // Otherwise nothing was tried.
    expect(claims).toBeGreaterThan(50);
    expect(takeOvers).toBeGreaterThan(5);
    expect(refusals).toBeGreaterThan(20);
  });
});

interface MountedOn {
  readonly host: Host;
  readonly copies: CopySet;
  readonly volume: Volume;
  readonly fs: FileSystem;
}

const SEED = 77;

async function worldWithVolume(delayMsMax = 5): Promise<World> {
  const images = await formatted(SEED, [16 * MIB, 20 * MIB]);
  const devices = images.map((image, i) => new SimulatedDevice(`copy${i}`, image!.sizeBytes, { image: image! }));
  return new World(SEED + 1, devices, delayMsMax, SEED);
}

async function mountOn(world: World, name: string, options: Partial<OpenOptions> = {}): Promise<MountedOn> {
  const { host, copies } = world.host(name);
  const random = new SeededRandom(name.charCodeAt(0));
  const volume = await world.result(openVolume(copies, { clock: host.clock, random, cacheBytes: 8 * MIB, ...options }));
  return { host, copies, volume, fs: new FileSystem(volume, host.clock) };
}

const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const touch = (world: World, { fs }: MountedOn, name: string): Promise<unknown> =>
  world.result(Promise.resolve().then(() => fs.makeNode(1, Buffer.from(name), 0o100644, 0, 0, CALLER)));

async function heartbeatOn(device: SimulatedDevice): Promise<Uint8Array> {
  const bytes = new Uint8Array(HEARTBEAT_BYTES);
  await device.read(HEARTBEAT_OFFSET_BYTES, [bytes]);
  return bytes;
}

/** The device, but something happens just before its n-th read or write. */
function beforeNth(device: BlockDevice, nth: number, act: () => Promise<void>): BlockDevice {
  let calls = 0;
  const counted = async (): Promise<void> => {
    if (++calls === nth) await act();
  };
  return {
    ...device,
    read: async (offsetBytes, targets) => {
      await counted();
      return device.read(offsetBytes, targets);
    },
    write: async (offsetBytes, sources) => {
      await counted();
      return device.write(offsetBytes, sources);
    },
  };
}

describe("a volume that other hosts can reach", () => {
  it("is refused while it is mounted elsewhere, and free at once after an unmount", async () => {
    const world = await worldWithVolume();
    const a = await mountOn(world, "a");
    await touch(world, a, "from a");
    const askedMs = world.clock.monotonicMs();
    await expect(mountOn(world, "b")).rejects.toThrow(/in use by another host/);
    // As soon as the heartbeat changes.
    expect(world.clock.monotonicMs() - askedMs).toBeLessThan(LEASE_MS_DEFAULT * 0.6);
    await touch(world, a, "still a");
    await world.result(a.volume.close());
    for (const device of world.devices) expect((await heartbeatOn(device)).every((byte) => byte === 0)).toBe(true);
    const startMs = world.clock.monotonicMs();
    const b = await mountOn(world, "b");
    expect(world.clock.monotonicMs() - startMs).toBeLessThan(LEASE_MS_DEFAULT / 4);
    await touch(world, b, "from b");
    await world.result(b.volume.close());
  });

  it("is taken over a lease after its host stopped, which writes nothing more when it wakes up", async () => {
    const world = await worldWithVolume();
    const a = await mountOn(world, "a");
    await touch(world, a, "a durable");
    await world.result(a.volume.barrier());
    await touch(world, a, "a lost");
    a.host.stop();
    const startMs = world.clock.monotonicMs();
    const b = await mountOn(world, "b");
    expect(world.clock.monotonicMs() - startMs).toBeGreaterThanOrEqual(LEASE_MS_DEFAULT);
    await touch(world, b, "from b");
    const before = world.network.issued.filter(({ host }) => host === a.host).length;
    a.host.goOn();
    await world.pass(60_000);
    expect(world.network.issued.filter(({ host }) => host === a.host).length).toBe(before);
    expect(a.volume.readOnly).toMatch(/heartbeat/);
    await expect(touch(world, a, "no more")).rejects.toThrow(/heartbeat/);
    await world.result(a.volume.close().catch(() => undefined));
    expect(b.volume.readOnly).toBeUndefined();
    await touch(world, b, "b goes on");
    await world.result(b.volume.close());
  });

  it("is fenced at once by a stranger's heartbeat, on any copy", async () => {
    const world = await worldWithVolume();
    const a = await mountOn(world, "a");
    await touch(world, a, "dirty");
    await world.devices[1]!.write(HEARTBEAT_OFFSET_BYTES, [new Uint8Array(HEARTBEAT_BYTES).fill(9)]);
    await world.pass(LEASE_MS_DEFAULT / 4 + 100);
    expect(a.volume.readOnly).toMatch(/copy1: another host took the volume over/);
    const fencedWrites = world.writesOf(a.host).length;
    await expect(touch(world, a, "more")).rejects.toThrow(/another host/);
    await expect(world.result(a.volume.close())).rejects.toThrow();
    expect(world.writesOf(a.host).length).toBe(fencedWrites);
    expect((await heartbeatOn(world.devices[1]!)).every((byte) => byte === 9)).toBe(true);
  });

  it("goes on without a copy whose heartbeat fails or hangs", async () => {
    for (const effect of [{ kind: "error", code: "EIO" }, { kind: "hang" }] as const) {
      for (const operation of ["read", "write"] as const) {
        const world = await worldWithVolume();
        const a = await mountOn(world, "a", { commitMs: 0 });
        const atByte = HEARTBEAT_OFFSET_BYTES;
        world.devices[0]!.fail({ operation, nth: 1, permanent: true, atByte, effect });
        await world.pass(LEASE_MS_DEFAULT);
        expect(a.copies.copy(0)!.standing, `${operation} ${effect.kind}`).toBe("faulted");
        expect(a.volume.readOnly).toBeUndefined();
        await touch(world, a, "on");
        await world.result(a.volume.close());
      }
    }
  });

  it("is not waited for by a worker that takes another's place with its nonce (trap 4c)", async () => {
    const world = await worldWithVolume();
    const heartbeatNonce = new Uint8Array(16).fill(5);
    const a = await mountOn(world, "a", { heartbeatNonce });
    a.host.stop();
    const startMs = world.clock.monotonicMs();
    const b = await mountOn(world, "b", { heartbeatNonce });
    expect(world.clock.monotonicMs() - startMs).toBeLessThan(LEASE_MS_DEFAULT / 4);
    await touch(world, b, "b");
    await world.result(b.volume.close());
  });

  it("stays ours when a beat of the worker before lands late, whenever it does (trap 4c)", async () => {
    const nonce = new Uint8Array(16).fill(5);
    for (let nth = 1; nth <= 12; nth++) {
      const devices = [0, 1].map((i) => new SimulatedDevice(`copy${i}`, 16 * MIB));
      const world = new World(nth, devices, 5);
      const { host, copies } = world.host("b");
      const beat = ({ uuid }: Copy, counter: number): Uint8Array[] => [
        encodeHeartbeat(copies.volumeUuid, uuid, nonce, counter),
      ];
      const [late, other] = copies.copies as [Copy, Copy];
      for (const [i, copy] of copies.copies.entries())
        await devices[i]!.write(HEARTBEAT_OFFSET_BYTES, beat(copy, 1000));
      const device = beforeNth(late.device, nth, () => devices[0]!.write(HEARTBEAT_OFFSET_BYTES, beat(late, 1001)));
      const members = [new Copy(0, late.uuid, device, ["copy0"]), other];
      const ours = new CopySet(members, { volumeUuid: copies.volumeUuid, clock: host.clock });
      await world.result(Heartbeat.claim(ours, { random: world.random, nonce }));
      await world.pass(3 * LEASE_MS_DEFAULT);
      expect(ours.fenced, `before call ${nth}`).toBeUndefined();
      expect(ours.active).toHaveLength(2);
      for (const copy of ours.active) expect(copy.writableUntilMs).toBeGreaterThan(world.clock.monotonicMs());
      const stranger = Heartbeat.claim(world.host("stranger").copies, { random: world.random });
      await expect(world.result(stranger)).rejects.toThrow(/in use by another host/);
    }
  });

  it("is refused to a worker that finds a stranger's heartbeat, also where a late beat of its own covers that", async () => {
    const nonce = new Uint8Array(16).fill(5);
    const world = new World(1, [new SimulatedDevice("copy0", 16 * MIB)], 5);
    const { host, copies } = world.host("b");
    const { uuid, device } = copies.copies[0]!;
    const beat = (of: Uint8Array): Uint8Array[] => [encodeHeartbeat(copies.volumeUuid, uuid, of, 1)];
    await world.devices[0]!.write(HEARTBEAT_OFFSET_BYTES, beat(new Uint8Array(16).fill(9)));
    const late = beforeNth(device, 2, () => world.devices[0]!.write(HEARTBEAT_OFFSET_BYTES, beat(nonce)));
    const ours = new CopySet([new Copy(0, uuid, late, ["copy0"])], {
      volumeUuid: copies.volumeUuid,
      clock: host.clock,
    });
    const claim = Heartbeat.claim(ours, { random: world.random, nonce });
    await expect(world.result(claim)).rejects.toThrow(/in use by another host/);
  });

  it("is claimed anew after a copy was frozen for longer than its lease, and nothing is written before", async () => {
    const world = await worldWithVolume();
    const a = await mountOn(world, "a", { commitMs: 0 });
    await world.result(freeze(a.volume, 0));
    const touched = touch(world, a, "waits").then(() => world.result(a.volume.barrier(), 600_000));
    await world.pass(3 * LEASE_MS_DEFAULT);
    const issued = (): unknown[] => world.network.issued.filter(({ device }) => device === "copy0");
    const before = issued().length;
    const thawMs = world.clock.monotonicMs();
    await world.result(thaw(a.volume, 0));
    await touched;
    const [claim, ...others] = issued().slice(before) as (typeof world.network.issued)[number][];
    expect(claim?.offsetBytes).toBe(HEARTBEAT_OFFSET_BYTES);
    // A claim is left to settle before anything else is written.
    const settledMs = thawMs + LEASE_MS_DEFAULT / 10;
    expect(others.filter(({ issuedMs }) => issuedMs < settledMs)).toEqual([]);
    expect(others.length).toBeGreaterThan(0);
    await world.pass(3 * LEASE_MS_DEFAULT);
    expect(a.copies.copy(0)!.failure).toBeUndefined();
    expect(a.volume.readOnly).toBeUndefined();
    await world.result(a.volume.close());
  });

  it("is lost to whoever took it over while a copy was frozen: nothing more is written to that", async () => {
    const world = await worldWithVolume();
    const a = await mountOn(world, "a", { commitMs: 0 });
    await world.result(freeze(a.volume, 0));
    // Nobody else sees the second copy, whose heartbeat goes on.
    const { host, copies } = world.host("b");
    const lone = new CopySet([copies.copies[0]!], { volumeUuid: copies.volumeUuid, clock: host.clock });
    const random = new SeededRandom(3);
    const b = await world.result(openVolume(lone, { clock: host.clock, random, degraded: true, cacheBytes: 8 * MIB }));
    const touched = touch(world, a, "never durable").then(() => world.result(a.volume.barrier(), 600_000));
    touched.catch(() => undefined);
    await world.pass(1000);
    const issued = (): number =>
      world.network.issued.filter((one) => one.host === a.host && one.device === "copy0").length;
    const before = issued();
    await expect(world.result(thaw(a.volume, 0))).rejects.toThrow(/another host took the volume over/);
    await expect(touched).rejects.toThrow(/another host/);
    await expect(world.result(a.volume.close())).rejects.toThrow();
    expect(issued()).toBe(before);
    await world.result(b.close());
  });

  it("whose devices are locked here is claimed without a write or a wait", async () => {
    const images = await formatted(SEED, [16 * MIB]);
    const device = new SimulatedDevice("copy0", images[0]!.sizeBytes, { image: images[0]! });
    const { copies } = new World(1, [device], 0, SEED).host("a");
    const local = new CopySet([new Copy(0, copies.copies[0]!.uuid, device, ["copy0"])], {
      volumeUuid: copies.volumeUuid,
      clock: new SimulatedClock(),
    });
    const heartbeat = await Heartbeat.claim(local, { random: new SeededRandom(1) });
    await heartbeat.release();
    expect(device.calls).toEqual({ read: 0, write: 0, flush: 0 });
  });
});
