// A device that stops answering under a running workload (I9): whatever hangs, and from whichever operation on, no request
// fails and none waits longer than one deadline (plus the hedge of a read); the copy is dropped, the others have
// everything, and it is caught up when it comes back.

import { describe, expect, it } from "vitest";
import { DEADLINE_MS_DEFAULT } from "../../src/copies/deadline.ts";
import { HEDGE_MS } from "../../src/copies/read-watch.ts";
import type { Copy } from "../../src/copies/copy.ts";
import type { CopySet } from "../../src/copies/copy-set.ts";
import type { SimulatedDevice } from "../../src/device/simulated.ts";
import type { Fault, FaultyOperation } from "../../src/device/simulated-faults.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  copiesOf,
  devicesOver,
  findings,
  formatted,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  mountOn,
  treeOf,
  unmount,
  Workload,
} from "./copies-scene.ts";
import { within } from "./virtual-time.ts";

const SIZES = [24 * MIB, 20 * MIB, 28 * MIB];
const STEP_MS_MAX = DEADLINE_MS_DEFAULT + 2 * HEDGE_MS;

async function steps(work: Workload, { clock, fs }: Mounted, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await within(clock, STEP_MS_MAX, work.run(fs, 1));
    await clock.advance(400);
  }
}

const OPTIONS = { commitMs: 3000, cacheBytes: MIB };

/** A volume after some work, not mounted. */
async function worn(work: Workload, seed: number, copyCount: number): Promise<Images> {
  const mounted = await mount(seed, await formatted(seed, SIZES.slice(0, copyCount)), OPTIONS);
  await within(mounted.clock, 0, work.begin(mounted.fs));
  await steps(work, mounted, 10);
  await unmount(mounted);
  return imagesOf(mounted.devices);
}

type Hang = FaultyOperation | "everything";

async function stallAndReturn(
  seed: number,
  copyCount: number,
  copy: number,
  hang: Hang,
  nth: number,
): Promise<boolean> {
  const work = new Workload(seed, 200_000);
  let images = await worn(work, seed, copyCount);
  // Opened anew, so that there is something to read, and from this copy.
  let mounted = await mount(seed, images, { ...OPTIONS, master: copy });
  const operations = hang === "everything" ? (["read", "write", "flush"] as const) : [hang];
  for (const operation of operations) {
    mounted.devices[copy]!.fail({ operation, nth, permanent: hang === "everything", effect: { kind: "hang" } });
  }
  const tree = await within(mounted.clock, 20 * STEP_MS_MAX, describeFileSystem(mounted.fs));
  expect(tree.join("\n")).toBe(await work.tree());
  await steps(work, mounted, 25);
  await within(mounted.clock, 3 * DEADLINE_MS_DEFAULT, unmount(mounted));
  await within(mounted.clock, DEADLINE_MS_DEFAULT, mounted.copies.close());
  const stalled = mounted.copies.copy(copy)!.stalled;
  expect(mounted.copies.copy(copy)!.standing).toBe(stalled ? "faulted" : "in-sync");
  images = imagesOf(mounted.devices);
  const left = images.map((image, i) => (stalled && i === copy ? undefined : image));
  expect(await findings(seed, left, { everyRoot: true })).toEqual([]);
  expect(await treeOf(seed, left)).toBe(await work.tree());

  mounted = await mount(seed, images, OPTIONS);
  await steps(work, mounted, 3);
  await within(mounted.clock, DEADLINE_MS_DEFAULT, mounted.caretaker.settled());
  await unmount(mounted);
  images = imagesOf(mounted.devices);
  expect(mounted.copies.copy(copy)!.standing).toBe("in-sync");
  expect(await findings(seed, images, { everyRoot: true })).toEqual([]);
  const alone = images.map((image, i) => (i === copy ? image : undefined));
  expect(await treeOf(seed, alone, { degraded: true })).toBe(await work.tree());
  return stalled;
}

describe("a copy that hangs", () => {
  for (const copyCount of [2, 3]) {
    for (const hang of ["read", "write", "flush", "everything"] as const) {
      it(`at any ${hang === "everything" ? "operation, for good" : hang}, of ${copyCount} copies, stops nobody`, async () => {
        let stalls = 0;
        for (let copy = 0; copy < copyCount; copy++) {
          for (let nth = 1; nth < 120; nth += nth < 4 ? 1 : 13) {
            const seed = 5000 + 1000 * copyCount + 100 * copy + nth;
            const stalled = await stallAndReturn(seed, copyCount, copy, hang, nth).catch((error: unknown) => {
              throw new Error(`seed ${seed}, copy ${copy}, ${hang} ${nth}`, { cause: error });
            });
            if (!stalled) break;
            stalls++;
          }
        }
        expect(stalls).toBeGreaterThan(copyCount);
      });
    }
  }
});

/** All copies stop answering at the nth operation of this kind on each, as on a machine that does no I/O for a while. */
async function stallTogether(
  seed: number,
  copyCount: number,
  operation: FaultyOperation,
  nth: number,
): Promise<boolean> {
  const work = new Workload(seed, 200_000);
  const devices = devicesOver(await worn(work, seed, copyCount));
  const copies = await copiesOf(seed, devices);
  const clock = copies.clock as Mounted["clock"];
  let goOn: () => void = () => undefined;
  const until = new Promise<void>((resolve) => (goOn = resolve));
  for (const device of devices) device!.fail({ operation, nth, permanent: true, effect: { kind: "late", until } });
  clock.after(4 * DEADLINE_MS_DEFAULT, goOn);
  const mounted = await within(clock, 5 * DEADLINE_MS_DEFAULT, mountOn(seed, devices, copies, OPTIONS));
  const tree = await within(clock, 5 * DEADLINE_MS_DEFAULT, describeFileSystem(mounted.fs));
  expect(tree.join("\n")).toBe(await work.tree());
  for (let i = 0; i < 10; i++) {
    await within(clock, 5 * DEADLINE_MS_DEFAULT, work.run(mounted.fs, 1));
    await clock.advance(400);
  }
  await within(clock, 5 * DEADLINE_MS_DEFAULT, unmount(mounted));
  expect(copies.copies.map(({ standing, failure }) => failure ?? standing)).toEqual(devices.map(() => "in-sync"));
  expect(await findings(seed, imagesOf(devices), { everyRoot: true })).toEqual([]);
  expect(await treeOf(seed, imagesOf(devices))).toBe(await work.tree());
  return devices.every((device) => device!.calls[operation] >= nth);
}

describe("copies that stall together", () => {
  for (const copyCount of [2, 3]) {
    for (const operation of ["read", "write", "flush"] as const) {
      it(`at any ${operation}, ${copyCount} of them, are all waited for`, async () => {
        let stalls = 0;
        for (let nth = 1; nth < 40; nth += nth < 8 ? 1 : 9) {
          const seed = 9000 + 100 * copyCount + nth;
          const stalled = await stallTogether(seed, copyCount, operation, nth).catch((error: unknown) => {
            throw new Error(`seed ${seed}, ${operation} ${nth}`, { cause: error });
          });
          if (stalled) stalls++;
        }
        expect(stalls).toBeGreaterThan(1);
      });
    }
  }
});

describe("a read of one copy that takes three deadlines", () => {
  const LATE_MS = 3 * DEADLINE_MS_DEFAULT;

  /** Reads from copy 0, which is late; what became of it. */
  async function read(
    prepare: (copies: CopySet, devices: readonly SimulatedDevice[], late: Fault["effect"]) => void,
  ): Promise<string> {
    const devices = devicesOver(await formatted(77, SIZES.slice(0, 2))).filter((device) => device !== undefined);
    const copies = await copiesOf(77, devices);
    const clock = copies.clock as Mounted["clock"];
    const until = new Promise<void>((resolve) => clock.after(LATE_MS, resolve));
    const late = { kind: "late", until } as const;
    devices[0]!.fail({ operation: "read", nth: 1, permanent: true, effect: late });
    prepare(copies, devices, late);
    const beganMs = clock.monotonicMs();
    const reading = copies.alone(copies.copies[0]!).read(0, [new Uint8Array(4096)]);
    const outcome = await within(
      clock,
      2 * LATE_MS,
      reading.then(
        () => "read",
        () => "given up",
      ),
    );
    if (outcome === "given up")
      expect(clock.monotonicMs() - beganMs).toBeLessThanOrEqual(DEADLINE_MS_DEFAULT + HEDGE_MS);
    return outcome;
  }

  it("costs it its place where another one answers, though nobody asked it for anything (I9)", async () => {
    expect(await read(() => undefined)).toBe("given up");
  });

  it("does not where the machine does no I/O at all", async () => {
    const stalled = read((_, devices, effect) =>
      devices[1]!.fail({ operation: "read", nth: 1, permanent: true, effect }),
    );
    expect(await stalled).toBe("read");
  });

  it("does not where the other one answers with errors only", async () => {
    const effect = { kind: "error", code: "EIO" } as const;
    const failing = read((_, devices) => devices[1]!.fail({ operation: "read", nth: 1, permanent: true, effect }));
    expect(await failing).toBe("read");
  });

  it("does not where the other one is still being caught up", async () => {
    expect(await read((copies) => void (copies.copies[1]!.standing = "syncing"))).toBe("read");
  });

  it("does not where the other one is frozen", async () => {
    expect(await read((copies) => void copies.copies[1]!.freeze([0]))).toBe("read");
  });

  it("does not, nor a write, where that copy alone is in sync, however fast the other one is", async () => {
    let written: Promise<void> = Promise.resolve();
    let only: Copy | undefined;
    const outcome = await read((copies, devices, effect) => {
      const [first, second] = copies.copies;
      second!.standing = "syncing";
      devices[0]!.fail({ operation: "write", nth: 1, permanent: true, effect });
      const bytes = new Uint8Array(4096);
      written = copies.writeAt([first!, second!].map((copy) => ({ copy, offsetBytes: 0, bytes })));
      only = first;
    });
    await written;
    expect([outcome, only?.failure]).toEqual(["read", undefined]);
  });
});
