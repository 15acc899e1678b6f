// Reads that take too long (I9): sent to another copy, their buffer left to them, their copy avoided and at last given up;
// and what is under way on a copy nobody waits for any more (trap 2).

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { CopySet } from "../../src/copies/copy-set.ts";
import { DEADLINE_MS_DEFAULT } from "../../src/copies/deadline.ts";
import { HEDGE_MS } from "../../src/copies/read-watch.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { FIRST_KIB, HEADER_BYTES, pointers, readOf, type Scene, scene, spoil } from "./copies-scene.ts";

const random = new SeededRandom(7);
const HANG = { kind: "hang" } as const;
const SIZE = 16384;

interface Timed extends Scene {
  readonly clock: SimulatedClock;
  readonly set: CopySet;
  /** How long each operation of a copy takes, by copy. */
  readonly delaysMs: number[];
  readonly bytes: Uint8Array;
  readonly at: number[];
}

/** Copies under virtual time, with one block on all of them. */
async function timed(copyCount: number): Promise<Timed> {
  const clock = new SimulatedClock();
  const delaysMs: number[] = [];
  const made = await scene(copyCount);
  const bytes = random.bytes(SIZE);
  const at = pointers(...Array.from({ length: copyCount }, (_, i) => FIRST_KIB + 64 * i));
  await made.copies.writeBlocks([{ pointers: at, bytes }]);
  made.devices.forEach((device, i) => {
    const read = device.read.bind(device);
    device.read = async (offsetBytes, targets) => {
      const delayMs = delaysMs[i] ?? 0;
      if (delayMs > 0) await new Promise<void>((resolve) => clock.after(delayMs, resolve));
      await read(offsetBytes, targets);
    };
  });
  const set = new CopySet(made.copies.copies, { volumeUuid: made.volumeUuid, clock });
  return { ...made, clock, set, delaysMs, bytes, at };
}

/** Lets time pass until `work` is over; how much it took, undefined when more than `limitMs`. */
async function passing(clock: SimulatedClock, work: Promise<unknown>, limitMs = 60_000): Promise<number | undefined> {
  const startMs = clock.monotonicMs();
  let over = false;
  void work.then(() => (over = true));
  await clock.advance(0);
  while (!over && clock.monotonicMs() - startMs < limitMs) await clock.advance(10);
  return over ? clock.monotonicMs() - startMs : undefined;
}

describe("a read that is overdue", () => {
  it("is answered by another copy, in a buffer the slow one can't reach (I9)", async () => {
    const { set, clock, delaysMs, bytes, at } = await timed(2);
    delaysMs[0] = 3000;
    const read = readOf(bytes, at, true);
    const first = read.target;
    expect(await passing(clock, set.readBlocks([read]))).toBe(HEDGE_MS);
    expect(read.error).toBeUndefined();
    expect(read.target).toEqual(bytes);
    expect(read.target).not.toBe(first);
    read.target.fill(1);
    await clock.advance(3000);
    expect(first).toEqual(bytes); // The late answer went where it was asked for.
    expect(read.target.every((byte) => byte === 1)).toBe(true);
    expect(set.copy(0)).toMatchObject({ overdueReads: 0, inFlight: 0, failure: undefined });
  });

  it("keeps further reads away from its copy while it lasts", async () => {
    const { set, clock, devices, delaysMs, bytes, at } = await timed(2);
    delaysMs[0] = 3000;
    await passing(clock, set.readBlocks([readOf(bytes, at, true)]));
    const { read: calls } = devices[0]!.calls;
    for (let i = 0; i < 10; i++) expect(await passing(clock, set.readBlocks([readOf(bytes, at, true)]))).toBe(0);
    delaysMs[0] = 0;
    await clock.advance(3000);
    await set.readBlocks([readOf(bytes, at, true)]);
    expect(devices[0]!.calls.read).toBe(calls + 2); // The overdue one reached the device, and the last.
  });

  it("costs its copy its place when it lasts a deadline, once another copy served it", async () => {
    const { set, clock, devices, bytes, at } = await timed(2);
    let told = 0;
    set.onFailure = () => told++;
    devices[0]!.fail({ operation: "read", nth: 1, effect: HANG });
    await passing(clock, set.readBlocks([readOf(bytes, at, true)]));
    await clock.advance(DEADLINE_MS_DEFAULT - 1);
    expect(set.failed).toEqual([]);
    await clock.advance(1);
    expect(set.failed.map(({ index, failure }) => [index, failure?.code])).toEqual([[0, "ETIMEDOUT"]]);
    expect(told).toBe(1);
    expect(set.copy(0)!.inFlight).toBe(1);
  });

  it("is waited for when no other copy has the block, and given to whoever waits", async () => {
    const { set, clock, delaysMs, bytes, at } = await timed(2);
    delaysMs[0] = 20_000;
    const read = readOf(bytes, pointers(at[0]!));
    expect(await passing(clock, set.readBlocks([read]))).toBe(20_000);
    expect(read.target).toEqual(bytes);
    expect(set.failed).toEqual([]);
  });

  it("ends in an error, not in a wait for ever, when its copy is given up for something else", async () => {
    const { set, clock, devices, bytes, at } = await timed(2);
    for (const operation of ["read", "write"] as const)
      devices[0]!.fail({ operation, nth: 1, permanent: true, effect: HANG });
    const read = readOf(bytes, pointers(at[0]!));
    const reading = set.readBlocks([read]);
    await clock.advance(100);
    void set.writeBlocks([{ pointers: pointers(4096, 4096), bytes }]);
    expect(await passing(clock, reading)).toBeLessThanOrEqual(DEADLINE_MS_DEFAULT);
    expect(read.error?.message).toContain("ETIMEDOUT");
    expect(read.target.every((byte) => byte === 0)).toBe(true);
  });

  it("goes on to a third copy when the second is as slow, or bad; a slow good one is still heard", async () => {
    for (const second of ["hung", "bad"]) {
      const { set, clock, devices, bytes, at } = await timed(3);
      devices[0]!.fail({ operation: "read", nth: 1, effect: HANG });
      if (second === "hung") devices[1]!.fail({ operation: "read", nth: 1, effect: HANG });
      else await spoil(devices[1]!, at[1]!);
      const read = readOf(bytes, at, true);
      expect(await passing(clock, set.readBlocks([read]))).toBe(second === "hung" ? 2 * HEDGE_MS : HEDGE_MS);
      expect(read.target).toEqual(bytes);
      expect(set.copy(1)!.repaired).toBe(second === "bad" ? 1 : 0);
    }
    const { set, clock, devices, delaysMs, bytes, at } = await timed(2);
    delaysMs[0] = 1000;
    await spoil(devices[1]!, at[1]!);
    const read = readOf(bytes, at, true);
    expect(await passing(clock, set.readBlocks([read]))).toBe(1000);
    expect(read.target).toEqual(bytes);
    expect(set.copy(1)!.repaired).toBe(1);
  });

  it("a disk that is always slow does not get every read twice", async () => {
    const { set, clock, devices, delaysMs, bytes, at } = await timed(2);
    delaysMs[0] = delaysMs[1] = 80;
    for (let i = 0; i < 30; i++) await passing(clock, set.readBlocks([readOf(bytes, at, true)]));
    const before = devices.map((device) => device.calls.read);
    for (let i = 0; i < 30; i++) await passing(clock, set.readBlocks([readOf(bytes, at, true)]));
    expect(devices.reduce((sum, device, i) => sum + device.calls.read - before[i]!, 0)).toBe(30);
  });

  it("one bad block among neighbours read late costs only itself", async () => {
    const { set, clock, devices, delaysMs } = await timed(2);
    const blocks = Array.from({ length: 4 }, () => random.bytes(SIZE));
    const places = blocks.map((_, i) => pointers(1024 + 16 * i));
    await set.writeBlocks(blocks.map((block, i) => ({ pointers: places[i]!, bytes: block })));
    devices[0]!.fail({
      operation: "read",
      nth: 1,
      permanent: true,
      atByte: HEADER_BYTES + 1040 * 1024,
      effect: { kind: "error", code: "EIO" },
    });
    delaysMs[0] = 200;
    const reads = blocks.map((block, i) => readOf(block, places[i]!));
    await passing(clock, set.readBlocks(reads));
    expect(reads.map(({ error }) => error !== undefined)).toEqual([false, true, false, false]);
  });

  it("whatever hangs, is slow or bad: right bytes or an error, at once if one good copy answers", async () => {
    const state = fc.constantFrom("good", "slow", "hung", "bad", "eio");
    await fc.assert(
      fc.asyncProperty(fc.array(state, { minLength: 2, maxLength: 3 }), fc.boolean(), async (states, metadata) => {
        const { set, clock, devices, delaysMs, bytes, at } = await timed(states.length);
        for (const [i, one] of states.entries()) {
          if (one === "slow") delaysMs[i] = 700;
          if (one === "hung") devices[i]!.fail({ operation: "read", nth: 1, permanent: true, effect: HANG });
          if (one === "bad") await spoil(devices[i]!, at[i]!);
          if (one === "eio")
            devices[i]!.fail({ operation: "read", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
        }
        const read = readOf(bytes, at, metadata);
        const tookMs = await passing(clock, set.readBlocks([read]));
        if (states.includes("good")) expect(tookMs).toBeLessThanOrEqual(2 * HEDGE_MS);
        else if (states.includes("slow")) expect(tookMs).toBeLessThanOrEqual(700 + 2 * HEDGE_MS);
        else if (!states.includes("hung")) expect(read.error).toBeDefined();
        if (tookMs !== undefined && read.error === undefined) expect(read.target).toEqual(bytes);
      }),
      { numRuns: 60 },
    );
  });
});

describe("a copy given up as stalled", () => {
  it("is not waited for by a repair, nor by a write or flush that goes to it alone", async () => {
    const { set, clock, devices, bytes, at } = await timed(2);
    await spoil(devices[0]!, at[0]!);
    devices[0]!.fail({ operation: "write", nth: 1, effect: HANG });
    const read = readOf(bytes, at, true);
    expect(await passing(clock, set.readBlocks([read]))).toBe(DEADLINE_MS_DEFAULT);
    expect(read.target).toEqual(bytes);
    expect(set.copy(0)!.stalled).toBe(true);
    for (const operation of ["write", "flush"] as const) {
      const other = await timed(2);
      other.devices[1]!.fail({ operation, nth: 1, effect: HANG });
      const work =
        operation === "flush"
          ? other.set.flush(other.set.copy(1))
          : other.set.writeBlocks([{ pointers: pointers(0, 4096), bytes }]);
      expect(await passing(other.clock, work)).toBe(DEADLINE_MS_DEFAULT);
      expect(other.set.failed.map(({ index }) => index)).toEqual([1]);
    }
  });

  it("says when its last call is over: it may not come back before (trap 2)", async () => {
    const { set, clock, delaysMs, bytes, at } = await timed(2);
    delaysMs[0] = 9000;
    await passing(clock, set.readBlocks([readOf(bytes, at, true)]));
    await clock.advance(DEADLINE_MS_DEFAULT);
    const copy = set.copy(0)!;
    expect(copy.stalled).toBe(true);
    let drained = false;
    void copy.drained().then(() => (drained = true));
    await clock.advance(3000);
    expect([drained, copy.inFlight]).toEqual([false, 1]);
    await clock.advance(1000);
    expect([drained, copy.inFlight]).toEqual([true, 0]);
  });

  it("is not waited for when everything is closed", async () => {
    const { set, clock, devices } = await timed(2);
    devices[0]!.close = () => new Promise(() => undefined);
    expect(await passing(clock, set.close())).toBe(DEADLINE_MS_DEFAULT);
  });
});
