// A copy that other hosts can reach and that joins a volume in use, back again or new, is claimed before it is written to, and beaten on
// like the others (I11): however often copies come and go, nobody else gets in, and two hosts never both have one.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { isZero, randomUuid } from "../../src/base/uuid.ts";
import { assembleCopies } from "../../src/copies/assemble.ts";
import { Copy, CopySet } from "../../src/copies/copy-set.ts";
import { Heartbeat } from "../../src/copies/heartbeat.ts";
import { LEASE_MS_DEFAULT } from "../../src/copies/in-use.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { NODE_HEADER_AREA_BYTES } from "../../src/format/geometry.ts";
import { encodeHeartbeat, HEARTBEAT_OFFSET_BYTES, heartbeatNonce } from "../../src/format/heartbeat.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { replaceNode } from "../../src/walk/replace-node.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formattedRows } from "./copies-scene.ts";
import { Far, type FarMount, LONG_MS, nameOf, SETTLE_MS } from "./far-scene.ts";
import { Host, Network } from "./hosts.ts";
import { within } from "./virtual-time.ts";

const SEED = 9100;

const twoCopies = async (): Promise<Far> => new Far(await formattedRows(SEED, [[18 * MIB], [20 * MIB]]), SEED);
const BOTH = [[0], [1]];

/** Longer than the rest of a lease, so that nothing goes on by what was claimed before. */
async function holds(far: Far, { copies, volume }: FarMount, indices: readonly number[]): Promise<void> {
  await far.pass(2 * LEASE_MS_DEFAULT);
  await far.done(volume.forceCommit());
  for (const index of indices) {
    expect(await far.beats(index), `node ${index}`).toBe(true);
    await expect(far.mount("b", [[index]]), `node ${index}`).rejects.toThrow(/in use by another host/);
  }
  for (const { failure, writableUntilMs } of copies.copies) {
    expect(failure).toBeUndefined();
    expect(writableUntilMs).toBeLessThan(Infinity);
  }
  expect(volume.readOnly).toBeUndefined();
}

describe("a copy that joins", () => {
  it("is guarded when each of them had its outage, and is free at once after an unmount", async () => {
    const far = await twoCopies();
    const a = await far.mount("a", BOTH);
    for (const index of [0, 1]) {
      await far.outage(a, index);
      await far.done(bringBack(a.volume, a.caretaker, index));
      await far.done(a.caretaker.settled());
      expect(a.volume.members.inSync).toBe(0b11);
    }
    await holds(far, a, [0, 1]);
    await far.unmount(a);
    expect([0, 1].map((index) => isZero(far.beatOn(index)))).toEqual([true, true]);
    const startMs = far.clock.monotonicMs();
    const b = await far.mount("b", BOTH);
    expect(far.clock.monotonicMs() - startMs).toBeLessThan(LEASE_MS_DEFAULT / 4);
    await far.unmount(b);
  });

  it("gets nothing before its claim has settled", async () => {
    const far = await twoCopies();
    const a = await far.mount("a", BOTH);
    await far.outage(a, 1);
    const before = far.network.issued.length;
    const startMs = far.clock.monotonicMs();
    await far.done(bringBack(a.volume, a.caretaker, 1));
    const written = far.network.issued.slice(before).filter(({ device }) => device === nameOf(1));
    expect(written[0]?.offsetBytes).toBe(NODE_HEADER_AREA_BYTES + HEARTBEAT_OFFSET_BYTES);
    expect(written.length).toBeGreaterThan(1);
    for (const { issuedMs } of written.slice(1)) expect(issuedMs).toBeGreaterThanOrEqual(startMs + SETTLE_MS);
    await far.unmount(a);
  });

  it("is guarded when it is new, or takes the place of another one; also where no other one is", async () => {
    const far = await twoCopies();
    const a = await far.mount("a", BOTH);
    for (const index of [0, 1]) {
      const at = far.provide(20 * MIB);
      const target = { name: nameOf(at), devices: [far.open("a", at)] };
      await far.done(a.caretaker.replace(index, target));
      await far.done(a.caretaker.settled());
    }
    expect(a.volume.members.inSync).toBe(0b101);
    await holds(far, a, [2, 3]);
    await far.unmount(a);
    expect([2, 3].map((index) => isZero(far.beatOn(index)))).toEqual([true, true]);
  });

  it("is guarded when its first node was replaced", async () => {
    const far = new Far(await formattedRows(SEED, [[18 * MIB], [18 * MIB, 18 * MIB]]), SEED);
    const a = await far.mount("a", [[0], [1, 2]]);
    const target = { name: nameOf(3), devices: [far.open("a", far.provide(18 * MIB))] };
    await far.done(replaceNode(a.volume, a.caretaker, { index: 1, position: 0 }, target));
    await far.done(a.caretaker.settled());
    expect(a.volume.members.inSync).toBe(0b11);
    expect(await far.beats(3)).toBe(true);
    await expect(far.mount("b", [[3, 2]])).rejects.toThrow(/in use by another host/);
    await far.unmount(a);
    expect(isZero(far.beatOn(3))).toBe(true);
  });

  it("stays with another host that has it; the volume goes on without it, and gets it when that host is gone", async () => {
    const far = await twoCopies();
    const a = await far.mount("a", BOTH);
    const { uuid } = a.copies.copy(1)!;
    await far.done(takeOut(a.volume, a.caretaker, 1, { lasting: false }));
    const device = far.open("b", 1);
    const there = await far.done(assembleCopies([{ name: nameOf(1), devices: [device] }], { clock: far.clock }));
    const heartbeat = await far.done(Heartbeat.claim(there, { random: new SeededRandom(SEED) }));
    await expect(far.done(bringBack(a.volume, a.caretaker, 1))).rejects.toThrow(/in use by another host/);
    await far.pass(LEASE_MS_DEFAULT);
    expect([a.volume.readOnly, there.fenced, there.copy(1)?.failure]).toEqual([undefined, undefined, undefined]);
    expect(heartbeatNonce(far.beatOn(1), a.volume.uuid, uuid)).toEqual(heartbeat.nonce);
    await far.done(heartbeat.release());
    await far.done(bringBack(a.volume, a.caretaker, 1));
    await far.done(a.caretaker.settled());
    expect(a.volume.members.inSync).toBe(0b11);
    await far.unmount(a);
  });

  it("is not even claimed when it went another way", async () => {
    const far = await twoCopies();
    const a = await far.mount("a", BOTH);
    await far.done(takeOut(a.volume, a.caretaker, 1, { lasting: false }));
    const b = await far.mount("b", [[1]]);
    await expect(far.done(bringBack(a.volume, a.caretaker, 1))).rejects.toThrow(/went another way/);
    await far.pass(LEASE_MS_DEFAULT);
    await far.done(b.volume.forceCommit());
    expect([a.volume.readOnly, b.volume.readOnly]).toEqual([undefined, undefined]);
    await far.unmount(b);
    const before = far.network.issued.length;
    await expect(far.done(bringBack(a.volume, a.caretaker, 1))).rejects.toThrow(/went another way/);
    expect(far.network.issued.slice(before).filter(({ device }) => device === nameOf(1))).toEqual([]);
    await far.unmount(a);
  });

  it("is given free when something else was done with it while it was claimed", async () => {
    const far = await twoCopies();
    const a = await far.mount("a", BOTH);
    await far.outage(a, 1);
    const back = bringBack(a.volume, a.caretaker, 1);
    back.catch(() => undefined);
    await far.pass(SETTLE_MS / 2);
    await far.done(takeOut(a.volume, a.caretaker, 1, { lasting: false }));
    await expect(far.done(back)).rejects.toThrow(/meanwhile/);
    expect(isZero(far.beatOn(1))).toBe(true);
    await far.pass(LEASE_MS_DEFAULT);
    expect(isZero(far.beatOn(1))).toBe(true);
    await far.unmount(a);
  });

  it("is watched for a lease when a host that is gone had it, but not while the volume is let go of", async () => {
    const far = await twoCopies();
    const a = await far.mount("a", BOTH);
    await far.done(takeOut(a.volume, a.caretaker, 1, { lasting: false }));
    const stale = encodeHeartbeat(a.volume.uuid, a.copies.copy(1)!.uuid, new Uint8Array(16).fill(9), 7);
    far.putBeat(1, stale);
    const startMs = far.clock.monotonicMs();
    await far.done(bringBack(a.volume, a.caretaker, 1));
    expect(far.clock.monotonicMs() - startMs).toBeGreaterThanOrEqual(LEASE_MS_DEFAULT);
    await far.done(a.caretaker.settled());
    expect(await far.beats(1)).toBe(true);

    await far.done(takeOut(a.volume, a.caretaker, 1, { lasting: false }));
    far.putBeat(1, stale);
    const back = bringBack(a.volume, a.caretaker, 1);
    back.catch(() => undefined);
    await far.pass(1000);
    const closedMs = far.clock.monotonicMs();
    await far.unmount(a);
    await expect(far.done(back)).rejects.toThrow(/let go of/);
    expect(far.clock.monotonicMs() - closedMs).toBeLessThan(LEASE_MS_DEFAULT / 2);
    expect(Buffer.compare(far.beatOn(1), stale)).toBe(0);
  });
});

describe("two changes at once", () => {
  it("an attach that is refused leaves the heartbeat of the copy that got its index alone", async () => {
    const far = await twoCopies();
    const host = await far.mount("a", BOTH);
    const attach = (): Promise<Copy> => {
      const at = far.provide(20 * MIB);
      const attached = host.caretaker.attach({ name: nameOf(at), devices: [far.open("a", at)] });
      attached.catch(() => undefined);
      return attached;
    };
    const one = attach();
    await far.pass(SETTLE_MS / 2);
    const two = attach();
    const ends = await far.done(Promise.allSettled([one, two]));
    expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    await far.done(host.caretaker.settled());
    await far.pass(LEASE_MS_DEFAULT);
    await far.done(host.volume.forceCommit());
    expect(host.copies.copy(2)?.failure).toBeUndefined();
    expect(host.volume.members.inSync).toBe(0b111);
    await far.unmount(host);
  });

  it("an unmount ends an attach that waits for its claim: no root is written after it, and no heartbeat stays", async () => {
    const far = await twoCopies();
    const host = await far.mount("a", BOTH);
    const at = far.provide(20 * MIB);
    const attached = host.caretaker.attach({ name: nameOf(at), devices: [far.open("a", at)] });
    attached.catch(() => undefined);
    await far.pass((SETTLE_MS * 3) / 4);
    await far.unmount(host);
    const { sequence } = host.volume;
    const [end] = await far.done(Promise.allSettled([attached]));
    expect(end.status).toBe("rejected");
    expect(host.volume.sequence).toBe(sequence);
    expect([0, 1, at].map((device) => isZero(far.beatOn(device)))).toEqual([true, true, true]);
  });
});

/** A host has copy 0 and admits copy 1 while another one, which sees that alone, claims it. */
async function race(seed: number, delayMsMax: number): Promise<{ admitted: boolean; claimed: boolean; both: number }> {
  const clock = new SimulatedClock();
  const random = new SeededRandom(seed);
  const network = new Network(clock, new SeededRandom(seed ^ 0x5555), delayMsMax);
  const devices = [0, 1].map((i) => new SimulatedDevice(`copy${i}`, 16 * MIB));
  const volumeUuid = randomUuid(random);
  const uuids = [randomUuid(random), randomUuid(random)];
  const copyFor = (host: Host, i: number): Copy =>
    new Copy(i, uuids[i]!, network.attach(host, devices[i]!), [`copy${i}`]);
  const [a, b] = [new Host("a", clock), new Host("b", clock)];
  const near = new Copy(0, uuids[0]!, new Network(clock, random, 0).attach(a, devices[0]!), ["copy0"]);
  const ofA = new CopySet([near], { volumeUuid, clock: a.clock });
  const ofB = new CopySet([copyFor(b, 1)], { volumeUuid, clock: b.clock });
  const heartbeat = await within(clock, LONG_MS, Heartbeat.claim(ofA, { random }));
  // From before the copy was dropped, or of a host that is gone, or nothing.
  const before = [heartbeat.nonce, new Uint8Array(16).fill(9), undefined][seed % 3];
  if (before !== undefined)
    await devices[1]!.write(HEARTBEAT_OFFSET_BYTES, [encodeHeartbeat(volumeUuid, uuids[1]!, before, 1)]);
  const sinceMs = { a: Infinity, b: Infinity };
  const writing = (host: Host, copies: CopySet): void => {
    const write = (): void => {
      const pointers = [0, 256, 0, 0, 0, 0, 0, 0];
      void copies.writeBlocks([{ pointers, bytes: new Uint8Array(1024).fill(1) }]).catch(() => undefined);
      host.clock.after(50 + random.below(400), write);
    };
    write();
  };
  const joining = copyFor(a, 1);
  const lateMs = before === undefined ? 3000 : LEASE_MS_DEFAULT + 3000;
  clock.after(random.below(lateMs), () => {
    void heartbeat.admit(joining).then(
      () => {
        sinceMs.a = clock.monotonicMs();
        ofA.add(joining);
        writing(a, ofA);
      },
      () => undefined,
    );
  });
  clock.after(random.below(seed % 2 === 0 ? lateMs : 3000), () => {
    void Heartbeat.claim(ofB, { random }).then(
      () => {
        sinceMs.b = clock.monotonicMs();
        writing(b, ofB);
      },
      () => undefined,
    );
  });
  for (const host of [a, b]) {
    const atMs = random.below(30_000);
    clock.after(atMs, () => host.stop());
    clock.after(atMs + random.below(random.below(2) === 0 ? 3000 : 40_000), () => host.goOn());
  }
  for (let passedMs = 0; passedMs < 90_000; passedMs += 50) {
    for (let turn = 0; turn < 3; turn++) await clock.advance(0);
    await clock.advance(50);
  }
  const [first, laterMs] = sinceMs.a < sinceMs.b ? [a, sinceMs.b] : [b, sinceMs.a];
  const isOfFirst = ({ host, device, offsetBytes, issuedMs }: (typeof network.issued)[number]): boolean =>
    host === first && device === "copy1" && offsetBytes !== HEARTBEAT_OFFSET_BYTES && issuedMs >= laterMs;
  const both = network.issued.filter(isOfFirst).length;
  return { admitted: sinceMs.a < Infinity, claimed: sinceMs.b < Infinity, both };
}

it("a copy that joins here while another host claims it is never written to by both", async () => {
  let [admitted, claimed, one] = [0, 0, 0];
  for (let seed = 1; seed <= 60; seed++) {
    const outcome = await race(seed, [0, 20, 300, 900][seed % 4] as number);
    expect(outcome.both, `seed ${seed}`).toBe(0);
    if (outcome.admitted) admitted++;
    if (outcome.claimed) claimed++;
    if (outcome.admitted !== outcome.claimed) one++;
  }
  // Otherwise nothing was tried.
  expect(admitted).toBeGreaterThan(10);
  expect(claimed).toBeGreaterThan(10);
  expect(one).toBeGreaterThan(20);
});

it("a copy of which a heartbeat of ours may have covered a stranger's is watched for a lease", async () => {
  const clock = new SimulatedClock();
  const random = new SeededRandom(SEED);
  const devices = [0, 1].map((i) => new SimulatedDevice(`copy${i}`, 16 * MIB));
  const network = new Network(clock, random, 5);
  const host = new Host("a", clock);
  const copies = devices.map((device, i) => {
    return new Copy(i, randomUuid(random), network.attach(host, device), [device.name]);
  });
  const set = new CopySet(copies, { volumeUuid: randomUuid(random), clock });
  const heartbeat = await within(clock, LONG_MS, Heartbeat.claim(set, { random }));
  const pass = async (durationMs: number): Promise<void> => {
    for (let passedMs = 0; passedMs < durationMs; passedMs += 100) await clock.advance(100);
  };
  // Its beat is not answered before the copy is given up for that; where it is then, nobody knows.
  devices[1]!.fail({ operation: "write", nth: 1, effect: { kind: "hang" } });
  await pass(LEASE_MS_DEFAULT);
  const old = copies[1]!;
  expect(old.failure).toBeDefined();
  old.standing = "faulted";
  const back = (): Copy => new Copy(1, old.uuid, network.attach(host, devices[1]!), ["copy1"]);
  const durations: number[] = [];
  for (let i = 0; i < 2; i++) {
    const startMs = clock.monotonicMs();
    const copy = back();
    await within(clock, LONG_MS, heartbeat.admit(copy));
    durations.push(clock.monotonicMs() - startMs);
    await within(clock, LONG_MS, heartbeat.dismiss(copy));
    await devices[1]!.write(HEARTBEAT_OFFSET_BYTES, [encodeHeartbeat(set.volumeUuid, old.uuid, heartbeat.nonce, 1)]);
  }
  expect(durations[0]).toBeGreaterThanOrEqual(LEASE_MS_DEFAULT);
  expect(durations[1]).toBeLessThan(LEASE_MS_DEFAULT / 4);
  expect(set.fenced).toBeUndefined();
  await within(clock, LONG_MS, heartbeat.release());
});
