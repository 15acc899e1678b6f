// A copy that the volume can't do without, or a node of it, frozen at any moment of a running workload: nothing reaches it and
// nothing fails however long that lasts, and afterwards all is as if it had never been (I2).

import { afterEach, describe, expect, it, vi } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import type { Copy } from "../../src/copies/copy.ts";
import { CopiesError } from "../../src/copies/errors.ts";
import type { SimulatedDevice } from "../../src/device/simulated.ts";
import { refPointer } from "../../src/format/blockref.ts";
import { isNarrow } from "../../src/tree/narrow.ts";
import type { Volume } from "../../src/volume/volume.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB } from "../model/simulated-volume.ts";
import { freeze, refuseFrozen, thaw, thawAll } from "../../src/walk/freeze.ts";
import { type NamedBlock, namedBlock, readOf } from "../../src/walk/named-block.ts";
import { Sweep } from "../../src/walk/sweep.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import {
  bulk,
  eachAlone,
  findings,
  formattedRows,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  treeOf,
  unmount,
  Workload,
} from "./copies-scene.ts";
import { setCopies } from "./narrow-scene.ts";
import { within } from "./virtual-time.ts";

afterEach(() => vi.restoreAllMocks());

const LONG_MS = 600_000;
const ROW = [18 * MIB, 20 * MIB];

interface Scene {
  readonly images: Images;
  readonly work: Workload;
  readonly mounted: Mounted;
}

async function scene(seed: number, rows: readonly (readonly number[])[]): Promise<Scene> {
  const images = await formattedRows(seed, rows);
  const work = new Workload(seed, 300_000);
  const mounted = await mount(seed, images, { commitMs: 3000, cacheBytes: MIB });
  await within(mounted.clock, 0, work.begin(mounted.fs));
  await within(mounted.clock, LONG_MS, work.run(mounted.fs, 8));
  return { images, work, mounted };
}

/** A narrow block that lies on this node and nowhere else. */
async function aloneOn(volume: Volume, copy: Copy, position: number): Promise<NamedBlock> {
  const found = await volume.view(() => {
    const named: NamedBlock[] = [];
    new Sweep(volume.store, volume.rootImage).step([], Infinity, ({ block }, at) => {
      const kib = refPointer(block.view, at, copy.index);
      if (isNarrow(block.view, at) && kib !== 0 && copy.isOn(position, kib)) named.push(namedBlock(block, at));
      return 1;
    });
    return named;
  });
  return found[0]!;
}

const callsOf = (device: SimulatedDevice | undefined): unknown => ({ ...device?.calls });

/** Copies, which of them is out, and what of copy 0 is frozen: all, or the node at a position. */
const CASES = [
  { name: "the only copy", rows: [[20 * MIB]], node: undefined, touched: [0] },
  { name: "the last copy in sync", rows: [[20 * MIB], [22 * MIB]], node: undefined, touched: [0] },
  { name: "a row", rows: [ROW], node: undefined, touched: [0, 1] },
  { name: "the first node of a row", rows: [ROW], node: 0, touched: [0] },
  { name: "the last node of a row", rows: [ROW], node: 1, touched: [1] },
] as const;

describe("freezing", () => {
  for (const { name, rows, node, touched } of CASES) {
    it(`${name} lets everything wait, and fails nothing`, async () => {
      let waited = 0;
      for (let seed = 4000; seed < 4012; seed++) {
        const random = new SeededRandom(seed);
        const { work, mounted } = await scene(seed, rows);
        const { clock, volume, fs, devices, caretaker } = mounted;
        if (rows.length > 1) await within(clock, 0, takeOut(volume, caretaker, 1, { lasting: false }));
        expect(volume.members.isNeeded(0)).toBe(true);
        let over = false;
        const working = work.run(fs, 60).finally(() => (over = true));
        working.catch(() => undefined);
        for (let turns = random.below(300); turns > 0; turns--) await Promise.resolve();
        await within(clock, 0, freeze(volume, 0, node));
        const before = touched.map((i) => callsOf(devices[i]));
        for (let passedMs = 0; passedMs < LONG_MS; passedMs += 4000) await clock.advance(4000);
        expect(touched.map((i) => callsOf(devices[i]))).toEqual(before);
        expect(volume.readOnly).toBeUndefined();
        expect(() => refuseFrozen(volume)).toThrow(/copy 0 is frozen; h2ts resume DIR 0 first/);
        waited += Number(!over);
        await within(clock, 0, thaw(volume, 0, node));
        await within(clock, LONG_MS, working);
        await within(clock, LONG_MS, work.run(fs, 5));
        await within(clock, LONG_MS, unmount(mounted));
        expect(volume.copies.copy(0)).toMatchObject({
          standing: "in-sync",
          errors: { read: 0, write: 0, checksum: 0 },
        });
        const images = imagesOf(devices).map((image, i) => (rows.length > 1 && i === 1 ? undefined : image));
        expect(await findings(seed, images, { everyRoot: true }), `seed ${seed}`).toEqual([]);
        expect(await treeOf(seed, images, { degraded: true }), `seed ${seed}`).toBe(await work.tree());
      }
      // Otherwise nothing was tried.
      expect(waited).toBeGreaterThan(5);
    });
  }

  it("is no reason not to read what is in memory or elsewhere", async () => {
    const { work, mounted } = await scene(4100, [[20 * MIB], [22 * MIB], [24 * MIB]]);
    const { clock, volume, fs, devices, caretaker } = mounted;
    await within(clock, 0, takeOut(volume, caretaker, 2, { lasting: false }));
    // Two of three are needed: neither of them can be spared.
    await within(clock, 0, freeze(volume, 0));
    const { read } = devices[0]!.calls;
    const tree = await within(clock, 10_000, describeFileSystem(fs));
    expect(tree.join("\n")).toBe(await work.tree());
    expect(devices[0]!.calls.read).toBe(read);
    await within(clock, 0, freeze(volume, 1));
    await within(clock, 0, thaw(volume, 0));
    expect(volume.copies.frozen.map(({ index }) => index)).toEqual([1]);
    await within(clock, 0, thawAll(volume));
    await within(clock, LONG_MS, work.run(fs, 5));
    await within(clock, LONG_MS, unmount(mounted));
  });

  it("ends when the volume is closed, with everything durable", async () => {
    const { work, mounted } = await scene(4101, [ROW]);
    const { clock, volume, fs } = mounted;
    await within(clock, 0, freeze(volume, 0, 1));
    const working = work.run(fs, 20);
    for (let i = 0; i < 10; i++) await clock.advance(10_000);
    await within(clock, 0, thawAll(volume));
    await within(clock, LONG_MS, working);
    await within(clock, LONG_MS, unmount(mounted));
    const images = imagesOf(mounted.devices);
    expect(await treeOf(4101, images)).toBe(await work.tree());
  });

  it("is given up when calls under way do not end; then everything goes on", async () => {
    const { work, mounted } = await scene(4102, [[20 * MIB]]);
    const { clock, volume, fs, devices } = mounted;
    let answer = (): void => undefined;
    const until = new Promise<void>((resolve) => (answer = resolve));
    await within(clock, 0, volume.forceCommit());
    devices[0]!.fail({ operation: "read", nth: 1, effect: { kind: "late", until } });
    const late = volume.copies.copies[0]!.read(1024 * 1024, [new Uint8Array(1024)]);
    await expect(within(clock, 20_000, freeze(volume, 0))).rejects.toThrow(/still under way/);
    expect(volume.copies.frozen).toEqual([]);
    await within(clock, LONG_MS, work.run(fs, 5));
    answer();
    await late;
    await within(clock, LONG_MS, unmount(mounted));
  });

  it("a copy that has failed is refused, and holds up nothing", async () => {
    const { work, mounted } = await scene(4104, [[20 * MIB], [22 * MIB]]);
    const { clock, volume, devices } = mounted;
    devices[1]!.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    await within(clock, 0, volume.forceCommit());
    await expect(within(clock, 0, freeze(volume, 1))).rejects.toThrow(/EIO/);
    expect(volume.copies.frozen).toEqual([]);
    await within(clock, LONG_MS, work.run(mounted.fs, 5));
    await within(clock, LONG_MS, unmount(mounted));
  });

  it("refuses a node that the copy does not have", async () => {
    const { mounted } = await scene(4103, [ROW]);
    const { clock, volume, caretaker } = mounted;
    const refused = { kind: "syntax", message: "copy '0/2': copy 0 has nodes 0 to 1" };
    await expect(within(clock, 0, freeze(volume, 0, 2))).rejects.toMatchObject(refused);
    await expect(takeOut(volume, caretaker, 0, { lasting: false, node: 2 })).rejects.toMatchObject(refused);
    await expect(thaw(volume, 0, 1)).rejects.toThrow(CopiesError);
    await unmount(mounted);
  });
});

describe("a suspended node of a row", () => {
  it("is left alone at once, the others go on, and the copy comes back at the next mount", async () => {
    for (let seed = 4200; seed < 4208; seed++) {
      const node = seed % 2;
      const { work, mounted } = await scene(seed, [[24 * MIB], ROW]);
      const { clock, volume, fs, devices, caretaker } = mounted;
      const working = work.run(fs, 20);
      for (let turns = 31 * (seed % 7); turns > 0; turns--) await Promise.resolve();
      await within(clock, LONG_MS, takeOut(volume, caretaker, 1, { lasting: false, node }));
      const before = [1, 2].map((i) => callsOf(devices[i]));
      await within(clock, LONG_MS, working);
      await within(clock, LONG_MS, work.run(fs, 10));
      expect([1, 2].map((i) => callsOf(devices[i]))).toEqual(before);
      expect(volume.copies.copy(1)).toMatchObject({ standing: "offline", suspendedNode: node, released: false });
      await within(clock, LONG_MS, unmount(mounted));
      const again = await mount(seed, imagesOf(devices));
      await again.caretaker.settled();
      await work.run(again.fs, 3);
      await unmount(again);
      expect(again.volume.members.inSync, again.notes.join("\n")).toBe(0b11);
      expect(await findings(seed, imagesOf(again.devices), { everyRoot: true })).toEqual([]);
      const [alone, first, second] = imagesOf(again.devices);
      await eachAlone(seed, [alone], await work.tree());
      expect(await treeOf(seed, [undefined, first, second], { degraded: true })).toBe(await work.tree());
    }
  });

  it.each([
    ["goes well", false],
    ["fails", true],
  ])("leaves the others readable all the while, also when the commit without it %s (I9)", async (_, fails) => {
    const { mounted } = await scene(4220, [[24 * MIB], ROW]);
    const { volume, copies, fs, caretaker } = mounted;
    await setCopies(fs, "", 1);
    const work = new Workload(4221, MIB);
    await work.begin(fs);
    for (let i = 0; i < 12; i++) await bulk(work, fs, `narrow${i}`, MIB);
    await volume.forceCommit();
    const named = await aloneOn(volume, copies.copy(1)!, 0);
    const reading = async (): Promise<Error | undefined> => {
      const request = readOf(named);
      await copies.readBlocks([request]);
      return request.error;
    };
    const errors: (Error | undefined)[] = [];
    const flush = copies.flush.bind(copies);
    vi.spyOn(copies, "flush").mockImplementation(async (...only) => {
      errors.push(await reading());
      if (fails) volume.failWith(new TypeError("a fault"));
      return flush(...only);
    });
    const done = takeOut(volume, caretaker, 1, { lasting: false, node: 1 });
    if (fails) await expect(done).rejects.toThrow("a fault");
    else await done;
    expect([...errors, await reading()]).toEqual(Array(fails ? 2 : 3).fill(undefined));
  });

  it("is the only one: a second is refused, with nothing changed", async () => {
    const { mounted } = await scene(4210, [[24 * MIB], ROW]);
    const { volume, caretaker } = mounted;
    await takeOut(volume, caretaker, 1, { lasting: false, node: 1 });
    await expect(takeOut(volume, caretaker, 1, { lasting: false, node: 0 })).rejects.toThrow(
      /1\/1 is suspended already/,
    );
    expect(volume.copies.copy(1)).toMatchObject({ standing: "offline", suspendedNode: 1, released: false });
    await takeOut(volume, caretaker, 1, { lasting: false });
    expect(volume.copies.copy(1)).toMatchObject({ standing: "offline", released: true });
    await unmount(mounted);
  });
});
