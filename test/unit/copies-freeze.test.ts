// Frozen nodes: calls on them wait and are never late, calls that others can serve do not, and what was under way is over and
// durable when the copy lies still.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import type { BlockRead } from "../../src/copies/block-io.ts";
import { Copy, CopySet } from "../../src/copies/copy-set.ts";
import { DEADLINE_MS_DEFAULT } from "../../src/copies/deadline.ts";
import { Row } from "../../src/device/row.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { FIRST_KIB, pointers, readOf } from "./copies-scene.ts";

const MIB = 1024 * 1024;
const HOUR_MS = 3_600_000;
const random = new SeededRandom(11);

interface Frozen {
  readonly clock: SimulatedClock;
  readonly devices: readonly SimulatedDevice[];
  readonly set: CopySet;
  readonly bytes: Uint8Array;
}

/** Two copies, the second a row of two nodes, with one block on the first node of each. */
async function scene(): Promise<Frozen> {
  const clock = new SimulatedClock();
  const devices = ["a", "b0", "b1"].map((name) => new SimulatedDevice(name, 16 * MIB, { clock }));
  const [a, b0, b1] = devices as [SimulatedDevice, SimulatedDevice, SimulatedDevice];
  const set = new CopySet(
    [new Copy(0, random.bytes(16), a, ["a"]), new Copy(1, random.bytes(16), new Row([b0, b1]), ["b0", "b1"])],
    { volumeUuid: random.bytes(16), clock },
  );
  const bytes = random.bytes(16384);
  await set.writeBlocks([{ pointers: pointers(FIRST_KIB, FIRST_KIB), bytes }]);
  return { clock, devices, set, bytes };
}

const SECOND_NODE_KIB = (16 * MIB) / 1024 + FIRST_KIB;

/** Tells whether `work` is over after `durationMs`. */
async function isOver(clock: SimulatedClock, work: Promise<unknown>, durationMs: number): Promise<boolean> {
  let over = false;
  void work.then(() => (over = true));
  await clock.advance(durationMs);
  return over;
}

describe("a frozen copy", () => {
  it("gets no call, fails none and is never late, until it is thawed", async () => {
    const { clock, devices, set, bytes } = await scene();
    const copy = set.copy(0)!;
    await copy.freeze([0]);
    const { write, flush } = devices[0]!.calls;
    const at = pointers(FIRST_KIB + 64, FIRST_KIB + 64);
    const work = set.writeBlocks([{ pointers: at, bytes }]).then(() => set.flush());
    expect(await isOver(clock, work, HOUR_MS)).toBe(false);
    expect(devices[0]!.calls).toMatchObject({ write, flush });
    expect(set.failed).toEqual([]);
    set.thaw(copy, [0]);
    expect(await isOver(clock, work, 0)).toBe(true);
    expect(devices[0]!.calls).toMatchObject({ write: write + 1, flush: flush + 1 });
    expect(set.failed).toEqual([]);
    const back = readOf(bytes, pointers(FIRST_KIB + 64));
    await set.readBlocks([back]);
    expect(back.target).toEqual(bytes);
  });

  it("is dropped one deadline after it was thawed when it does not answer then", async () => {
    const { clock, devices, set, bytes } = await scene();
    const copy = set.copy(0)!;
    await copy.freeze([0]);
    const work = set.writeBlocks([{ pointers: pointers(FIRST_KIB + 64, FIRST_KIB + 64), bytes }]);
    await clock.advance(HOUR_MS + 1234);
    devices[0]!.fail({ operation: "write", nth: 1, effect: { kind: "hang" } });
    set.thaw(copy, [0]);
    expect(await isOver(clock, work, DEADLINE_MS_DEFAULT - 1)).toBe(false);
    expect(await isOver(clock, work, 2)).toBe(true);
    expect(copy.stalled).toBe(true);
  });

  it("leaves reading to the others, and is waited for only by what it alone has", async () => {
    const { clock, devices, set, bytes } = await scene();
    const alone = random.bytes(4096);
    await set.writeBlocks([{ pointers: pointers(FIRST_KIB + 128), bytes: alone }]);
    await set.copy(0)!.freeze([0]);
    const { read } = devices[0]!.calls;
    for (const metadata of [true, false]) {
      const both = readOf(bytes, pointers(FIRST_KIB, FIRST_KIB), metadata);
      expect(await isOver(clock, set.readBlocks([both]), 0)).toBe(true);
      expect(both.target).toEqual(bytes);
    }
    const only = readOf(alone, pointers(FIRST_KIB + 128));
    const waiting = set.readBlocks([only]);
    expect(await isOver(clock, waiting, HOUR_MS)).toBe(false);
    expect(devices[0]!.calls.read).toBe(read);
    set.thaw(set.copy(0)!, [0]);
    expect(await isOver(clock, waiting, 0)).toBe(true);
    expect(only.target).toEqual(alone);
    expect(set.failed).toEqual([]);
  });

  it("is asked in the last place for a block that is bad elsewhere, and repairs nobody waits for", async () => {
    const { clock, devices, set, bytes } = await scene();
    await devices[1]!.write(FIRST_KIB * 1024, [new Uint8Array(512).fill(0xdb)]);
    await set.copy(0)!.freeze([0]);
    const bad = readOf(bytes, pointers(FIRST_KIB, FIRST_KIB));
    const waiting = set.readBlocks([bad]);
    expect(await isOver(clock, waiting, HOUR_MS)).toBe(false);
    set.thaw(set.copy(0)!, [0]);
    expect(await isOver(clock, waiting, 0)).toBe(true);
    expect(bad.target).toEqual(bytes);
    // The other way round: bad on the frozen copy, found out before.
    await devices[0]!.write(FIRST_KIB * 1024, [new Uint8Array(512).fill(0xdb)]);
    let answer = (): void => undefined;
    devices[0]!.fail({
      operation: "read",
      nth: 1,
      effect: { kind: "late", until: new Promise((go) => (answer = go)) },
    });
    const late = readOf(bytes, pointers(FIRST_KIB, FIRST_KIB), true);
    const reading = set.readBlocks([late]);
    const still = set.copy(0)!.freeze([0]);
    expect(await isOver(clock, still, 10)).toBe(false);
    answer();
    expect(await isOver(clock, reading, 10)).toBe(true);
    expect(late.target).toEqual(bytes);
    expect(set.copy(0)!.repaired).toBe(0);
    expect(await isOver(clock, still, 0)).toBe(true);
  });

  it("lies still when it is said to: what was under way is over, and flushed", async () => {
    const { clock, devices, set, bytes } = await scene();
    let answer = (): void => undefined;
    devices[0]!.fail({
      operation: "write",
      nth: 1,
      effect: { kind: "late", until: new Promise((go) => (answer = go)) },
    });
    const write = set.writeBlocks([{ pointers: pointers(FIRST_KIB + 64), bytes }]);
    const { flush } = devices[0]!.calls;
    const frozen = set.copy(0)!.freeze([0]);
    expect(await isOver(clock, frozen, HOUR_MS)).toBe(false);
    answer();
    expect(await isOver(clock, frozen, 0)).toBe(true);
    expect(devices[0]!.calls.flush).toBe(flush + 1);
    await write;
  });

  it("that fails lets go of what waited for it", async () => {
    const { clock, devices, set, bytes } = await scene();
    devices[0]!.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    const frozen = set.copy(0)!.freeze([0]);
    const write = set.writeBlocks([{ pointers: pointers(FIRST_KIB + 64, FIRST_KIB + 64), bytes }]);
    expect(await isOver(clock, Promise.all([frozen, write]), 0)).toBe(true);
    expect(set.copy(0)).toMatchObject({ frozenNodes: [], failure: { code: "EIO" } });
    expect(set.copy(1)!.failure).toBeUndefined();
  });

  it("of which one node is frozen goes on with the others", async () => {
    const { clock, devices, set, bytes } = await scene();
    const copy = set.copy(1)!;
    await set.writeBlocks([{ pointers: pointers(0, SECOND_NODE_KIB), bytes }]);
    await copy.freeze([1]);
    const before = { ...devices[2]!.calls };
    const first = readOf(bytes, pointers(0, FIRST_KIB));
    expect(await isOver(clock, set.readBlocks([first]), 0)).toBe(true);
    const write = set.writeBlocks([{ pointers: pointers(0, FIRST_KIB + 64), bytes }]);
    expect(await isOver(clock, write, 0)).toBe(true);
    const second = readOf(bytes, pointers(0, SECOND_NODE_KIB));
    const waiting = Promise.all([set.readBlocks([second]), set.flush()]);
    expect(await isOver(clock, waiting, HOUR_MS)).toBe(false);
    expect(devices[2]!.calls).toEqual(before);
    set.thaw(copy, [0]);
    expect(await isOver(clock, waiting, 0)).toBe(false);
    set.thaw(copy, [1]);
    expect(await isOver(clock, waiting, 0)).toBe(true);
    expect(second.target).toEqual(bytes);
    expect(set.failed).toEqual([]);
  });
});

describe("a copy of which one node was let go of", () => {
  it("still gives what lies on the others, and only in need", async () => {
    const { devices, set, bytes } = await scene();
    const copy = set.copy(1)!;
    await set.writeBlocks([{ pointers: pointers(0, SECOND_NODE_KIB), bytes }]);
    copy.standing = "offline";
    expect((await read(set, pointers(0, FIRST_KIB), bytes)).error).toBeDefined();
    copy.suspendedNode = 1;
    const before = devices.map(({ calls }) => calls.read);
    await read(set, pointers(FIRST_KIB, FIRST_KIB), bytes);
    expect(devices[1]!.calls.read).toBe(before[1]);
    expect(await read(set, pointers(0, FIRST_KIB), bytes)).toMatchObject({ target: bytes });
    expect((await read(set, pointers(0, SECOND_NODE_KIB), bytes)).error).toBeDefined();
    expect(devices[2]!.calls.read).toBe(before[2]);
    expect(copy.errors).toEqual({ read: 0, write: 0, checksum: 0 });
  });
});

async function read(set: CopySet, at: readonly number[], bytes: Uint8Array): Promise<BlockRead> {
  const request = readOf(bytes, at);
  await set.readBlocks([request]);
  return request;
}
