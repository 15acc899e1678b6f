// copies=K while copies fail, return, come and go (I1, I2, I5, I6, I8): nothing that was completed is lost although much of it
// was to be on one copy only, and what a copy away alone holds is EIO, and there again when the copy is.

import { describe, expect, it, vi } from "vitest";
import { bitCount } from "../../src/base/bits.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { describeFileSystem } from "../model/digest.ts";
import { runStep } from "../model/workload.ts";
import { CopyPointers } from "../../src/tree/copy-pointers.ts";
import { JOURNAL_BYTES, MIB } from "../model/simulated-volume.ts";
import { CopySet } from "../../src/copies/copy-set.ts";
import { Journal } from "../../src/log/journal.ts";
import { IntentLog } from "../../src/volume/intent-log.ts";
import {
  bulk,
  findings,
  formattedNodes,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  settle,
  targetOf,
  treeOf,
  unmount,
  Workload,
} from "./copies-scene.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { inodeAt, rightOrGone, setCopies } from "./narrow-scene.ts";

const SIZES = [24 * MIB, 20 * MIB, 28 * MIB];
const NOT_IN_SYNC = ["copy-behind", "root-lost", "root-stale", "root-slot", "copy-absent"];

/** New files of the root directory lie on `copies`, those in "a" on two if there are three. */
async function begin(seed: number, copyCount: number, copies = 1): Promise<{ work: Workload; mounted: Mounted }> {
  const work = new Workload(seed, 300_000);
  const mounted = await mount(seed, await formattedNodes(seed, SIZES.slice(0, copyCount)));
  await setCopies(mounted.fs, "", copies);
  await work.begin(mounted.fs);
  if (copyCount > 2) await setCopies(mounted.fs, "a", 2);
  await work.run(mounted.fs, 12);
  return { work, mounted };
}

async function loseAndReturn(
  seed: number,
  copyCount: number,
  copy: number,
  operation: "write" | "flush",
  nth: number,
): Promise<boolean> {
  const { work, mounted: first } = await begin(seed, copyCount);
  first.devices[copy]!.fail({ operation, nth, permanent: true, effect: { kind: "error", code: "EIO" } });
  await work.run(first.fs, 25);
  await unmount(first);
  const lost = first.copies.copy(copy)!.standing === "faulted";
  expect(bitCount(first.volume.members.inSync)).toBe(lost ? copyCount - 1 : copyCount);
  let images = imagesOf(first.devices);
  const tree = await work.tree();
  const without = images.map((image, i) => (lost && i === copy ? undefined : image));
  expect(await findings(seed, without, { everyRoot: true }).then((all) => all.filter(isSerious))).toEqual([]);
  await rightOrGone(seed, without, tree);
  expect(await treeOf(seed, images)).toBe(tree);

  const mounted = await mount(seed, images);
  await work.run(mounted.fs, 10);
  await mounted.caretaker.settled();
  await work.run(mounted.fs, 5);
  await unmount(mounted);
  expect(bitCount(mounted.volume.members.inSync)).toBe(copyCount);
  images = imagesOf(mounted.devices);
  expect(await findings(seed, images, { everyRoot: true })).toEqual([]);
  expect(await treeOf(seed, images)).toBe(await work.tree());
  for (const only of images.keys()) {
    const lone = images.map((image, i) => (i === only ? image : undefined));
    await rightOrGone(seed, lone, await work.tree());
  }
  return lost;
}

/** What became of copies that failed at some writes while the code had a bug. */
async function withBug(plant: () => { mockRestore(): void }): Promise<string[]> {
  const bug = plant();
  try {
    const outcomes: string[] = [];
    for (let nth = 1; nth < 12; nth++) {
      const shown = loseAndReturn(59_000 + nth, 2, nth % 2, "write", nth).then(
        () => "hidden",
        () => "shown",
      );
      outcomes.push(await shown);
    }
    return outcomes;
  } finally {
    bug.mockRestore();
  }
}

const isSerious = ({ name }: { readonly name: string }): boolean => !NOT_IN_SYNC.includes(name);

/** Mounts once more, lets everything be finished, and holds the copies left against the model. */
async function endsWell(seed: number, work: Workload, images: Images, copyCount: number): Promise<Mounted> {
  const mounted = await mount(seed, images);
  await work.run(mounted.fs, 3);
  await settle(mounted);
  await unmount(mounted);
  const notes = `seed ${seed}\n${mounted.notes.join("\n")}`;
  expect(bitCount(mounted.volume.members.all), notes).toBe(copyCount);
  expect(mounted.volume.members.inSync, notes).toBe(mounted.volume.members.all);
  const left = imagesOf(
    mounted.devices.filter((device) => mounted.copies.copies.some(({ name }) => name === device?.name)),
  );
  expect(await findings(seed, left, { everyRoot: true }), notes).toEqual([]);
  expect(await treeOf(seed, left), notes).toBe(await work.tree());
  return mounted;
}

describe("copies=K", () => {
  for (const copyCount of [2, 3]) {
    for (const operation of ["write", "flush"] as const) {
      it(`outlives a copy that fails at any ${operation}, of ${copyCount} copies`, async () => {
        for (let copy = 0; copy < copyCount; copy++) {
          for (let nth = 1; nth < 400; nth += nth < 12 ? 1 : 11) {
            const seed = 51_000 + 1000 * copyCount + 100 * copy + nth;
            const lost = await loseAndReturn(seed, copyCount, copy, operation, nth).catch((error: unknown) => {
              throw new Error(`seed ${seed}, copy ${copy}, ${operation} ${nth}`, { cause: error });
            });
            if (!lost) break;
          }
        }
      });
    }
  }

  it("would show a commit that leaves data with a copy that failed (I2)", async () => {
    const outcomes = await withBug(() =>
      vi.spyOn(CopyPointers.prototype, "placeAnew").mockImplementation(() => undefined),
    );
    expect(outcomes).toContain("shown");
  });

  it("spreads files over the copies, and is not copied to one that is attached", async () => {
    const seed = 55_001;
    const { work, mounted } = await begin(seed, 2);
    const before = mounted.volume.statfs().copies.map(({ usedKib }) => usedKib);
    for (let i = 0; i < 6; i++) await bulk(work, mounted.fs, `bulk${i}`, MIB);
    const grown = mounted.volume.statfs().copies.map(({ usedKib }, i) => usedKib - (before[i] as number));
    for (const kib of grown) expect(kib, `seed ${seed}: ${grown.join()}`).toBeGreaterThan(2 * 1024);
    expect(
      grown.reduce((sum, kib) => sum + kib),
      grown.join(),
    ).toBeLessThan(8 * 1024);
    const device = new SimulatedDevice("new", 26 * MIB);
    await mounted.caretaker.attach(targetOf(device));
    await settle(mounted);
    expect(mounted.volume.statfs().copies[2]!.usedKib).toBeLessThan(3 * 1024);
    await unmount(mounted);
    await endsWell(seed, work, imagesOf([...mounted.devices, device]), 3);
  });

  it("hands what a copy alone holds to another one before it leaves or is replaced", async () => {
    for (const [i, way] of (["detach", "replace"] as const).entries()) {
      for (const copyCount of [2, 3]) {
        for (let copy = 0; copy < copyCount; copy++) {
          const seed = 56_000 + 100 * i + 10 * copyCount + copy;
          const { work, mounted } = await begin(seed, copyCount);
          for (let n = 0; n < 4; n++) await bulk(work, mounted.fs, `bulk${n}`, MIB);
          const device = new SimulatedDevice("new", 26 * MIB);
          if (way === "detach") await mounted.caretaker.detach(copy);
          else await mounted.caretaker.replace(copy, targetOf(device));
          await work.run(mounted.fs, 10);
          await settle(mounted);
          await unmount(mounted);
          expect(mounted.volume.members.all & (1 << copy), `seed ${seed}\n${mounted.notes.join("\n")}`).toBe(0);
          const images = imagesOf(mounted.devices).map((image, n) => (n === copy ? undefined : image));
          const all = way === "detach" ? images : [...images, device.image];
          await endsWell(seed, work, all, way === "detach" ? copyCount - 1 : copyCount);
        }
      }
    }
  });

  it("has all places back that were set aside when what a copy alone holds could not be handed to another one (I3)", async () => {
    const seed = 56_500;
    const { work, mounted } = await begin(seed, 3);
    for (let n = 0; n < 4; n++) await bulk(work, mounted.fs, `bulk${n}`, MIB);
    const { volume, copies, caretaker, notes } = mounted;
    const roomKib = async (): Promise<number> => {
      for (let commits = 0; commits < 4; commits++) await volume.forceCommit();
      return [0, 2].reduce((sum, copy) => sum + volume.store.freemaps[copy]!.wholeKib, 0);
    };
    const before = await roomKib();
    const flush = copies.flush.bind(copies);
    let written = false;
    vi.spyOn(copies, "writeBlocks").mockImplementation(async (writes) => {
      written = true;
      await CopySet.prototype.writeBlocks.call(copies, writes);
    });
    vi.spyOn(copies, "flush").mockImplementation((...given) =>
      written ? Promise.reject(new Error("what was handed over is not flushed")) : flush(...given),
    );
    await caretaker.detach(1);
    await settle(mounted);
    vi.restoreAllMocks();
    expect(notes).toContain("what was handed over is not flushed");
    // But for what commits moved.
    expect(await roomKib()).toBeGreaterThan(before - 256);
    await unmount(mounted);
    await endsWell(seed, work, imagesOf(mounted.devices), 2);
  });

  it("brings a copy that returns what it lost of two places (I8), so that any one copy may go", async () => {
    let lost = 0;
    for (let nth = 1; nth < 40; nth += 2) {
      const seed = 57_300 + nth;
      const { work, mounted: first } = await begin(seed, 3, 2);
      const failing = first.devices[nth % 3]!;
      failing.fail({ operation: "write", nth, permanent: true, effect: { kind: "error", code: "EIO" } });
      await work.run(first.fs, 25);
      // What is not sealed yet loses a place too when its copy is taken out.
      const out = first.copies.copy((nth + 1) % 3)!;
      if (nth % 4 === 1 && first.volume.members.inSync === 0b111) {
        await takeOut(first.volume, first.caretaker, out.index, { lasting: false });
      }
      await unmount(first);
      if (first.volume.members.inSync !== 0b111) lost++;
      const mounted = await mount(seed, imagesOf(first.devices));
      await settle(mounted);
      await unmount(mounted);
      const images = imagesOf(mounted.devices);
      for (const away of images.keys()) {
        const others = images.map((image, i) => (i === away ? undefined : image));
        expect(await rightOrGone(seed, others, await work.tree()), `seed ${seed} without copy ${away}`).toBe(0);
      }
    }
    expect(lost).toBeGreaterThan(5);
  });

  it("lets a copy return although what it is owed is on an absent one only (I8)", async () => {
    let waived = 0;
    for (let seed = 57_100; seed < 57_112; seed++) {
      const { work, mounted: first } = await begin(seed, 3);
      await setCopies(first.fs, "", 2);
      const at = seed % 3;
      first.devices[at]!.fail({ operation: "write", nth: 3, permanent: true, effect: { kind: "error", code: "EIO" } });
      for (let n = 0; n < 6; n++) await bulk(work, first.fs, `bulk${n}`, MIB / 2);
      await unmount(first);
      const all = imagesOf(first.devices);
      const away = (at + 1) % 3;
      const some = all.map((image, i) => (i === away ? undefined : image));
      const mounted = await mount(seed, some, { degraded: true });
      await settle(mounted);
      await unmount(mounted);
      const notes = `seed ${seed}\n${mounted.notes.join("\n")}`;
      expect(mounted.volume.members.inSync, notes).toBe(0b111 & ~(1 << away));
      const images = imagesOf(mounted.devices);
      if ((await rightOrGone(seed, images, await work.tree())) > 0) waived++;
      expect((await findings(seed, images)).filter(isSerious), notes).toEqual([]);
      await endsWell(
        seed,
        work,
        images.map((image, i) => image ?? all[i]),
        3,
      );
    }
    expect(waived).toBeGreaterThan(0);
  });

  it("goes to a copy that has room when its own is full, and is ENOSPC when none has", async () => {
    const seed = 57_200;
    const work = new Workload(seed, 1);
    const mounted = await mount(seed, await formattedNodes(seed, [18 * MIB, 40 * MIB]));
    const { fs, volume } = mounted;
    await setCopies(fs, "", 1);
    const room = volume.statfs().copies.map(({ freeKib }) => freeKib);
    let written = 0;
    for (let n = 0; ; n++) {
      const steps = [{ do: "create", at: [`f${n}`] }] as const;
      for (const step of steps) for (const each of [fs, work.model]) expect(await runStep(each, step)).toBe("ok");
      const step = { do: "write", at: [`f${n}`], offset: 0, length: MIB, fill: n } as const;
      const answer = await runStep(fs, step);
      if (answer !== "ok") {
        expect(answer).toBe("ENOSPC");
        break;
      }
      expect(await runStep(work.model, step)).toBe("ok");
      written += MIB / 1024;
      if (n % 4 === 3) await fs.sync();
    }
    expect(written, room.join()).toBeGreaterThan(0.9 * (room[0]! + room[1]!) - 2048);
    expect(await describeFileSystem(fs).then((lines) => lines.length)).toBe((await work.tree()).split("\n").length);
    await unmount(mounted);
    const images = imagesOf(mounted.devices);
    expect(await findings(seed, images, { everyRoot: true })).toEqual([]);
    expect(await treeOf(seed, images)).toBe(await work.tree());
  });

  it("leaves the volume writable when the copy fails that was to hold it and the other is full (I9)", async () => {
    for (let seed = 57_300; seed < 57_306; seed++) {
      const work = new Workload(seed, 1);
      const images = await formattedNodes(seed, [48 * MIB, 18 * MIB]);
      const mounted = await mount(seed, images, { cacheBytes: 64 * MIB });
      const { fs, volume } = mounted;
      const write = async (name: string, offset: number, length: number): Promise<string> => {
        const step = { do: "write", at: [name], offset, length, fill: offset / 65536 } as const;
        const answer = await runStep(fs, step);
        if (answer === "ok") expect(await runStep(work.model, step)).toBe("ok");
        return answer;
      };
      for (const each of [fs, work.model]) {
        expect(await runStep(each, { do: "create", at: ["all"] })).toBe("ok");
        expect(await runStep(each, { do: "create", at: ["narrow"] })).toBe("ok");
      }
      await setCopies(fs, "narrow", 1);
      for (let at = 0; (await write("all", at, MIB / 4)) === "ok"; ) at += MIB / 4;
      await fs.sync();
      // All of this is for copy 0, which has room; nobody asks for it to be durable.
      for (let i = 0; i < 6; i++) expect(await write("narrow", i * MIB, MIB)).toBe("ok");
      mounted.devices[0]!.fail({
        operation: "write",
        nth: 1 + (seed % 3),
        permanent: true,
        effect: { kind: "error", code: "EIO" },
      });
      await write("narrow", 6 * MIB, MIB);
      await volume.barrier();
      expect(volume.copies.copy(0)?.standing).toBe("faulted");
      expect(volume.readOnly, `seed ${seed}`).toBeUndefined();
      const removal = { do: "unlink", at: ["all"] } as const;
      for (const each of [fs, work.model]) expect(await runStep(each, removal)).toBe("ok");
      await unmount(mounted);
      expect(await rightOrGone(seed, [undefined, mounted.devices[1]!.image], await work.tree())).toBeLessThan(2);
    }
  });

  it("keeps in memory what a commit given up has written, until a root names it (I2)", async () => {
    const seed = 57_400;
    const work = new Workload(seed, 1);
    const images = await formattedNodes(seed, [48 * MIB, 24 * MIB]);
    const journal = new Journal(new Uint8Array(JOURNAL_BYTES));
    const mounted = await mount(seed, images, { cacheBytes: MIB, journal });
    const { fs, volume } = mounted;
    await bulk(work, fs, "other", 4 * MIB);
    for (const each of [fs, work.model]) expect(await runStep(each, { do: "create", at: ["narrow"] })).toBe("ok");
    await setCopies(fs, "narrow", 1);
    for (let i = 0; i < 2; i++) await volume.forceCommit();
    const step = { do: "write", at: ["narrow"], offset: 0, length: 65536, fill: 7 } as const;
    for (const each of [fs, work.model]) expect(await runStep(each, step)).toBe("ok");
    const other = await inodeAt(fs, "other");
    let givenUp = false;
    vi.spyOn(IntentLog.prototype, "close").mockImplementationOnce(() => Promise.resolve(!(givenUp = true)));
    const { flush } = CopySet.prototype;
    vi.spyOn(CopySet.prototype, "flush").mockImplementation(async function (this: CopySet, copy) {
      if (givenUp) {
        givenUp = false;
        // Whatever may leave the cache does; then the copy fails that has the data.
        for (let round = 0; round < 4; round++) {
          for (let at = 0; at < 4 * MIB; at += MIB / 4) await fs.read(other, at, MIB / 4);
        }
        mounted.devices[0]!.fail({
          operation: "flush",
          nth: 1,
          permanent: true,
          effect: { kind: "error", code: "EIO" },
        });
      }
      return flush.call(this, copy);
    });
    await volume.forceCommit();
    vi.restoreAllMocks();
    expect(volume.copies.copy(0)?.standing).toBe("faulted");
    expect(volume.readOnly).toBeUndefined();
    await unmount(mounted);
    expect(await rightOrGone(seed, [undefined, mounted.devices[1]!.image], await work.tree())).toBe(0);
  });

  it("keeps a copy that is away a member while it alone holds data, until it is back or the files are gone", async () => {
    for (const returns of [true, false]) {
      const seed = 57_000 + (returns ? 1 : 0);
      const { work, mounted: first } = await begin(seed, 2);
      for (let n = 0; n < 4; n++) await bulk(work, first.fs, `bulk${n}`, MIB);
      await unmount(first);
      const images = imagesOf(first.devices);
      const tree = await work.tree();
      expect(await rightOrGone(seed, [images[0], undefined], tree)).toBeGreaterThan(0);
      const alone = await mount(seed, [images[0], undefined], { degraded: true });
      await alone.caretaker.detach(1);
      await settle(alone);
      expect(alone.notes.join("\n")).toMatch(/copy 1 can't leave: it alone holds \d+ blocks.*inodes/);
      expect(alone.volume.members.all).toBe(0b11);
      if (!returns) {
        await setCopies(alone.fs, "", "all");
        for (const fs of [alone.fs, work.model]) {
          for (const name of await namesIn(fs)) await removeAll(fs, name);
        }
        await alone.fs.settled();
        await alone.caretaker.detach(1);
        await settle(alone);
        expect(alone.volume.members.all, alone.notes.join("\n")).toBe(0b01);
      }
      await unmount(alone);
      await endsWell(seed, work, [alone.devices[0]!.image, returns ? images[1] : undefined], 1);
    }
  });
});

type Requests = Workload["model"] | Mounted["fs"];
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0 };

async function namesIn(fs: Requests, ino = 1): Promise<Buffer[]> {
  const names: Buffer[] = [];
  await fs.readDirectory(
    ino,
    0,
    "none",
    () => (names.length = 0),
    ({ name }) => names.push(Buffer.from(name)) > 0,
  );
  return names.filter((name) => ![".", ".."].includes(name.toString("latin1")));
}

async function removeAll(fs: Requests, name: Buffer, parent = 1): Promise<void> {
  const found = await fs.lookup(parent, name);
  if (found === undefined) return;
  fs.forget(found.ino, 1);
  if ((found.mode & 0o170000) !== 0o040000) return void (await fs.unlink(parent, name, CALLER));
  for (const inner of await namesIn(fs, found.ino)) await removeAll(fs, inner, found.ino);
  await fs.removeDirectory(parent, name, CALLER);
}

describe("a new file", () => {
  it("takes copies over from its directory, as a new directory does", async () => {
    const { mounted } = await begin(58_001, 3);
    const { fs } = mounted;
    const made = await fs.makeDirectory(await inodeAt(fs, "a"), Buffer.from("deep"), 0o755, CALLER);
    const file = await fs.makeNode(made.ino, Buffer.from("file"), 0o100644, 0, 0, CALLER);
    expect(Buffer.from((await fs.getXattr(file.ino, "user.h2ts.copies")) ?? []).toString()).toBe("2");
    expect(await fs.listXattrs(file.ino)).toEqual([]);
    const other = { ...CALLER, uid: 1000 };
    await expect(
      (async () => fs.setXattr(file.ino, "user.h2ts.copies", Buffer.from("1"), 0, other, false))(),
    ).rejects.toMatchObject({ code: "EPERM" });
    for (const value of ["0", "4", "two", ""]) {
      const set = async (): Promise<void> =>
        fs.setXattr(file.ino, "user.h2ts.copies", Buffer.from(value), 0, CALLER, false);
      await expect(set(), value).rejects.toMatchObject({ code: "EINVAL" });
    }
    await fs.removeXattr(file.ino, "user.h2ts.copies", CALLER);
    expect(Buffer.from((await fs.getXattr(file.ino, "user.h2ts.copies")) ?? []).toString()).toBe("all");
    await unmount(mounted);
  });
});
