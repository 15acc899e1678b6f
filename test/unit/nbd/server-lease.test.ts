// Who gets an export, who is refused, and that an owner comes back to it only when its old requests are over (I11).

import { chownSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { SystemClock } from "../../../src/base/clock.ts";
import { SeededRandom } from "../../../src/base/random.ts";
import { SimulatedClock } from "../../../src/device/simulated-clock.ts";
import { type Admission, Lease, LeaseRefused } from "../../../src/nbd/server/lease.ts";
import { DeviceLeaseRecord, type LeaseRecord, NO_RECORD } from "../../../src/nbd/server/lease-record.ts";
import { DEFAULT_LIMITS } from "../../../src/nbd/server/limits.ts";
import { Command, OptionReply, TransmissionFlag } from "../../../src/nbd/wire/constants.ts";
import { quiet } from "./quiet.ts";
import { RecordInMemory, type ScriptedClient, ServerScene } from "./server-scene.ts";

const ALICE = "0123456789abcdef-alice";
const BOB = "0123456789abcdef-bob";
const owner = (token: string, slot = 0): string => `h2ts:owner=${token}/${slot}`;

/** A lease by itself, and a way to claim it as clients do: told its number first. */
function bareLease(keepMs: number, clock = new SimulatedClock(), record: LeaseRecord = NO_RECORD, seed = 1) {
  const lease = new Lease({ clock, random: new SeededRandom(seed), keepMs, record });
  const claim = (owner: string, holder = { label: owner, cut: () => undefined }): Admission =>
    lease.claim({ kind: "owner", owner, slot: 0, lease: lease.numberFor(owner) }, holder);
  return { clock, lease, claim };
}

async function asking(scene: ServerScene, context?: string): Promise<ScriptedClient> {
  const client = await scene.client();
  await client.option(8);
  if (context !== undefined) await client.select([context]);
  return client;
}

describe("the lease of an export", () => {
  it("is one writer's: a second one is refused in words", async () => {
    const scene = new ServerScene();
    const first = await scene.opened();
    for (const context of [undefined, owner(ALICE), "h2ts:reader"]) {
      const second = await asking(scene, context);
      const { type, message } = await second.tryGo();
      expect(type).toBe(OptionReply.ERR_POLICY);
      expect(message).toBe('export "x" is in use by client 1; one client at a time may write');
      expect((await second.tryGo("x", 6)).type).toBe(OptionReply.ACK);
    }
    first.leave();
    await scene.connections[0]?.ended;
    await scene.opened();
  });

  it("keeps the writer out while somebody reads, and lets readers in together", async () => {
    const scene = new ServerScene();
    const readers = [await scene.opened(["h2ts:reader"]), await scene.opened(["h2ts:reader"])];
    const again = await asking(scene, "h2ts:reader");
    expect((await again.go()) & TransmissionFlag.READ_ONLY).not.toBe(0);
    expect((await again.write(0, Buffer.alloc(5))).error).not.toBe(0);
    const writer = await asking(scene);
    expect((await writer.tryGo()).message).toContain("is being read by client 1");
    for (const reader of [...readers, again]) reader.leave();
    await Promise.all(scene.connections.filter((_, i) => i !== 3).map(({ ended }) => ended));
    await writer.go();
  });

  it("lets its owner in again in other slots, and in the same one when the old connection's requests are over", async () => {
    const scene = new ServerScene();
    const old = await scene.opened([owner(ALICE, 1)]);
    const beside = await scene.opened([owner(ALICE, 2)]);
    const letGo = scene.hold("write");
    old.send(Command.WRITE, 0, 4, 0, Buffer.from("late"));
    await quiet();
    const next = await asking(scene, owner(ALICE, 1));
    let isIn = false;
    const going = next.go().then((flags) => {
      isIn = true;
      return flags;
    });
    await expect(old.source.take(1, "reply")).rejects.toThrow();
    await quiet();
    expect(isIn).toBe(false);
    letGo();
    expect((await going) & TransmissionFlag.CAN_MULTI_CONN).not.toBe(0);
    await next.write(0, Buffer.from("next"));
    expect((await beside.ask(Command.READ, 0, 4)).data.toString()).toBe("next");
    expect(scene.lines).toContain("client 1: cut off: another connection takes its place");
  });

  it("lets its owner begin anew in the first slot when the requests of all its connections are over", async () => {
    const scene = new ServerScene();
    const first = await scene.opened([owner(ALICE, 0)]);
    const beside = await scene.opened([owner(ALICE, 1)]);
    const letGo = scene.hold("write");
    beside.send(Command.WRITE, 0, 4, 0, Buffer.from("late"));
    await quiet();
    const next = await asking(scene, owner(ALICE, 0));
    let isIn = false;
    const going = next.go().then(() => (isIn = true));
    for (const old of [first, beside]) await expect(old.source.take(1, "reply")).rejects.toThrow();
    await quiet();
    expect(isIn).toBe(false);
    letGo();
    await going;
    await next.write(0, Buffer.from("next"));
    expect((await next.ask(Command.READ, 0, 4)).data.toString()).toBe("next");
  });

  it("does not keep those who wait for its old requests, which may never end, when they give up", async () => {
    const clock = new SimulatedClock();
    const scene = new ServerScene({ clock, limits: DEFAULT_LIMITS });
    const old = await scene.opened([owner(ALICE)]);
    const letGo = scene.hold("write");
    old.send(Command.WRITE, 0, 4, 0, Buffer.from("late"));
    await quiet();
    const [impatient, silent] = [await asking(scene, owner(ALICE)), await asking(scene, owner(ALICE))];
    for (const client of [impatient, silent]) client.go().catch(() => undefined);
    await quiet();
    impatient.stream.destroy();
    await scene.connections[1]?.ended;
    // It neither reads nor leaves.
    await clock.advance(DEFAULT_LIMITS.handshakeMs);
    await scene.connections[2]?.ended;
    const last = await asking(scene, owner(ALICE));
    let isIn = false;
    const going = last.go().then(() => (isIn = true));
    await quiet();
    expect(isIn).toBe(false);
    letGo();
    await going;
    expect((await last.ask(Command.READ, 0, 4)).data.toString()).toBe("late");
  });

  it("is kept for an owner whose connection broke, and given up by one that left in order", async () => {
    const scene = new ServerScene({ limits: { ...DEFAULT_LIMITS, leaseMs: 60_000 }, clock: new SystemClock() });
    const alice = await scene.opened([owner(ALICE)]);
    alice.stream.destroy();
    await scene.connections[0]?.ended;
    const bob = await asking(scene, owner(BOB));
    expect((await bob.tryGo()).message).toContain("is kept for client 1, whose connection broke");
    const back = await asking(scene, owner(ALICE));
    await back.go();
    back.leave();
    await scene.connections[2]?.ended;
    await bob.go();
  });

  it("ends by itself when its owner does not come back", async () => {
    const { clock, lease, claim } = bareLease(20_000);
    claim("a").leave(false);
    await clock.advance(19_999);
    expect(() => claim("b")).toThrow(LeaseRefused);
    await clock.advance(1);
    claim("b").leave(true);
    expect(lease.isHeld).toBe(false);
  });

  it("has a number that stays the same as long as nobody else wrote, however long its owner was away", async () => {
    const { clock, lease, claim } = bareLease(20_000);
    const connection = claim("a");
    const number = lease.numberFor("a");
    expect(lease.numberFor("a")).toBe(number);
    connection.leave(false);
    await clock.advance(3600_000);
    expect(lease.isHeld).toBe(false);
    const reader = lease.claim({ kind: "reader" }, { label: "reader", cut: () => undefined });
    reader.leave(true);
    expect(lease.numberFor("a")).toBe(number);
    claim("a").leave(true);
    expect(lease.numberFor("a")).not.toBe(number);
  });

  it.each(["an owner", "a writer without a token"])("has another number when %s had it in between", async (who) => {
    const { clock, lease, claim } = bareLease(20_000);
    claim("a").leave(false);
    const told = lease.numberFor("a");
    await clock.advance(20_000);
    const holder = { label: "b", cut: () => undefined };
    const other = who === "an owner" ? claim("b") : lease.claim({ kind: "writer" }, holder);
    other.leave(true);
    // Told before, claimed after.
    expect(() => lease.claim({ kind: "owner", owner: "a", slot: 0, lease: told }, holder)).toThrow(/ask once more/);
    expect(lease.numberFor("a")).not.toBe(told);
    claim("a");
  });

  it("waits for every connection that had the slot, however many came and went", async () => {
    const { lease, claim } = bareLease(0);
    const cuts: string[] = [];
    const enter = (label: string) => claim("a", { label, cut: () => void cuts.push(label) });
    const first = enter("first");
    const second = enter("second");
    const third = enter("third");
    let isReady = false;
    void third.ready.then(() => (isReady = true));
    second.leave(false);
    await quiet();
    expect(isReady).toBe(false);
    first.leave(false);
    await third.ready;
    expect(cuts).toEqual(["first", "first", "second"]);
    third.leave(true);
    third.leave(true);
    expect(lease.isHeld).toBe(false);
  });
});

describe("a server that is started anew", () => {
  const record = new RecordInMemory();
  const clock = new SimulatedClock();
  const started = (seed: number) => bareLease(20_000, clock, record, seed);

  it("leaves the export to the owner it had, under the same number, and to nobody else as long as a lease is kept", async () => {
    const before = started(1);
    before.claim("a");
    const number = before.lease.numberFor("a");
    const { lease, claim } = started(2);
    expect(() => claim("b")).toThrow(/is kept for a, whose connection broke/);
    expect(lease.numberFor("a")).toBe(number);
    claim("a").leave(false);
    await clock.advance(20_000);
    claim("b").leave(false);
    const again = started(3);
    expect(again.lease.numberFor("a")).not.toBe(number);
    await clock.advance(20_000);
    again.claim("a");
    expect(started(4).lease.numberFor("a")).not.toBe(number);
  });

  it("lets in anybody when the last one had left in order, or wrote without a token", () => {
    record.forget();
    const { lease, claim } = started(5);
    claim("a").leave(true);
    const next = started(6);
    next.claim("b").leave(true);
    lease.claim(
      { kind: "owner", owner: "c", slot: 0, lease: lease.numberFor("c") },
      { label: "c", cut: () => undefined },
    );
    expect(record.kept?.owner).toBe("c");
    record.forget();
    const last = started(7);
    const writer = { label: "w", cut: () => undefined };
    record.keep({ owner: "z", number: 1, label: "z" });
    last.lease.claim({ kind: "writer" }, writer);
    expect(record.kept).toBeUndefined();
  });

  it("lends nothing of which it can keep no record", () => {
    const full = {
      read: () => undefined,
      forget: () => undefined,
      keep: () => {
        throw Object.assign(new Error("no room"), { code: "ENOSPC" });
      },
    };
    expect(() => bareLease(0, clock, full).claim("a")).toThrow(/no record of that can be kept \(ENOSPC\)/);
  });

  it("knows a row by the records of all its nodes, which go when one of them is opened to write", () => {
    const [a, b] = [`file test:${process.pid}:1`, `file test:${process.pid}:2`];
    const row = new DeviceLeaseRecord([a, b]);
    try {
      expect(row.read()).toBeUndefined();
      row.keep({ owner: "o", number: 7, label: "who" });
      expect(row.read()).toEqual({ owner: "o", number: 7, label: "who" });
      new DeviceLeaseRecord([b]).forget();
      expect(row.read()).toBeUndefined();
      row.keep({ owner: "o", number: 8, label: "who" });
      new DeviceLeaseRecord([b]).keep({ owner: "p", number: 9, label: "other" });
      expect(row.read()).toBeUndefined();
    } finally {
      row.forget();
    }
  });

  // Only root may make a folder that is somebody else's.
  it.runIf(process.getuid?.() === 0)("takes away what servers of other users left, and holds on to its own", () => {
    const user = 2_000_000_000 + process.pid;
    const [folder, incarnation] = [`/tmp/h2ts-${user}`, `file test:${process.pid}:3`];
    const record = new DeviceLeaseRecord([incarnation]);
    const theirs = `${folder}/leases/${incarnation.replaceAll(/[ :]/g, "-")}`;
    mkdirSync(`${folder}/leases`, { recursive: true });
    chownSync(folder, user, user);
    try {
      writeFileSync(theirs, "o\n7\nwho\n");
      record.forget();
      expect(existsSync(theirs)).toBe(false);
      writeFileSync(theirs, "o\n7\nwho\n");
      record.keep({ owner: "p", number: 8, label: "other" });
      expect(existsSync(theirs)).toBe(false);
      expect(record.read()).toEqual({ owner: "p", number: 8, label: "other" });
      // No record; nobody is held up by it.
      mkdirSync(theirs);
      record.forget();
    } finally {
      record.forget();
      rmSync(folder, { recursive: true });
    }
  });
});
