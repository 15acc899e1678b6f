// The log at work: what a process that is killed, or a power cut, leaves is carried out again; what can't be is told (I4).

import { describe, expect, it, vi } from "vitest";
import { fsckVolume } from "../../fsck/fsck.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { KIB } from "../../src/format/geometry.ts";
import { rootLogHead } from "../../src/format/root-log.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { randomStep, runStep } from "../model/workload.ts";
import { MemoryFileSystem } from "../mount/memory-filesystem.ts";

const SIZES = [24 * MIB, 32 * MIB];
const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const name = (text: string): Uint8Array => new TextEncoder().encode(text);

async function opened(seed: number): Promise<SimulatedVolume> {
  return (await SimulatedVolume.format(seed, SIZES)).remount();
}

describe("a process that is killed", () => {
  for (let seed = 1; seed <= 8; seed++) {
    it(`loses nothing it completed, synced or not (I4, trap 6, seed ${seed})`, async () => {
      const random = new SeededRandom(seed);
      let real = await opened(seed);
      const model = new MemoryFileSystem(real.clock);
      for (let i = 0; i < 250; i++) {
        const step = random.below(12) === 0 ? ({ do: "sync" } as const) : randomStep(random, 400_000);
        const [got, wanted] = [await runStep(real.fs, step), await runStep(model, step)];
        expect(got, `seed ${seed}, step ${i} ${JSON.stringify(step)}`).toBe(wanted);
        if (random.below(25) !== 0) continue;
        real = await real.takeOver();
        expect(await describeFileSystem(real.fs), `seed ${seed}, step ${i}`).toEqual(await describeFileSystem(model));
      }
      await real.volume.close();
      const outcome = await fsckVolume({ copies: real.copies, devices: [] }, { force: true, clock: real.clock });
      expect(outcome.left.filter(({ severity }) => severity !== "note")).toEqual([]);
    });
  }

  it("while it carries out the journal of another leaves that whole (I4, trap 6)", async () => {
    const real = await opened(41);
    await real.fs.makeDirectory(ROOT, name("made"), 0o755, CALLER);
    const file = await real.fs.makeNode(ROOT, name("file"), 0o100644, 0, 0, CALLER);
    await real.fs.write(file.ino, 0, new Uint8Array(300_000).fill(7), {});
    const wanted = await describeFileSystem(real.fs);
    const second = await real.takeOver();
    expect(await describeFileSystem(second.fs)).toEqual(wanted);
    // The same journal again, with the devices of the first: the second never got anywhere.
    const third = await real.takeOver();
    expect(await describeFileSystem(third.fs)).toEqual(wanted);
  });

  it("keeps what requests gave whose answers the kernel may not have", async () => {
    const real = await opened(42);
    const result = await real.volume.apply(
      {
        op: "create",
        parent: ROOT,
        name: name("once"),
        ino: 500,
        mode: 0o100600,
        umask: 0,
        uid: 1,
        gid: 2,
        rdevMajor: 0,
        rdevMinor: 0,
        time: { sec: 5, nsec: 6 },
      },
      77,
    );
    const after = await real.takeOver();
    expect(after.volume.replayed(77)).toEqual(result);
    expect(after.volume.replayed(78)).toBeUndefined();
  });

  it("leaves inodes without names to those who have them open; an ordinary mount removes them", async () => {
    const real = await opened(43);
    const file = await real.fs.makeNode(ROOT, name("gone"), 0o100644, 0, 0, CALLER);
    await real.fs.write(file.ino, 0, new Uint8Array(100).fill(1), {});
    await real.fs.unlink(ROOT, name("gone"), CALLER);
    const after = await real.takeOver();
    expect((await after.fs.read(file.ino, 0, 100)).lengthBytes).toBe(100);
    const mounted = await after.remount();
    await expect(async () => mounted.fs.getAttributes(file.ino)).rejects.toThrow("does not exist");
  });
});

describe("fsync", () => {
  it("is one write and one flush on each copy, and no commit", async () => {
    const real = await opened(51);
    const file = await real.fs.makeNode(ROOT, name("log"), 0o100644, 0, 0, CALLER);
    const { sequence } = real.volume;
    for (let i = 0; i < 5; i++) {
      await real.fs.write(file.ino, i * 4096, new Uint8Array(4096).fill(i), {});
      const before = real.devices.map(({ calls }) => ({ ...calls }));
      await real.fs.syncFile(file.ino);
      for (const [k, { calls }] of real.devices.entries()) {
        expect(calls.write - (before[k] as { write: number }).write).toBe(1);
        expect(calls.flush - (before[k] as { flush: number }).flush).toBe(1);
      }
    }
    expect(real.volume.sequence).toBe(sequence);
  });

  it("goes into the log from the first one on, however the volume was left", async () => {
    const append = async (real: SimulatedVolume): Promise<SimulatedVolume> => {
      const { ino } = await real.fs.makeNode(ROOT, name(`log-${real.volume.sequence}`), 0o100644, 0, 0, CALLER);
      const before = real.devices.map(({ calls }) => ({ ...calls }));
      await real.fs.syncFile(ino);
      for (const [k, { calls }] of real.devices.entries()) {
        const { write, flush } = before[k] as { write: number; flush: number };
        expect({ write: calls.write - write, flush: calls.flush - flush }).toEqual({ write: 1, flush: 1 });
      }
      return real;
    };
    const formatted = await append(await opened(56));
    const left = await append(await formatted.takeOver());
    const cut = await append(await left.atRest().reopened());
    const mounted = await append(await cut.remount());
    expect((await describeFileSystem(mounted.fs)).length).toBeGreaterThanOrEqual(4);
  });

  it("needs no write at a mount after an unmount: the log that the root names goes on (I4)", async () => {
    const first = await (await opened(57)).remount();
    expect(first.devices.map(({ calls }) => calls.write)).toEqual([0, 0]);
    const { sequence } = first.volume;
    await first.fs.makeDirectory(ROOT, name("synced"), 0o755, CALLER);
    await first.fs.sync();
    expect(first.volume.sequence).toBe(sequence);
    const wanted = await describeFileSystem(first.fs);
    // Two segments and more: what the log takes next was set aside as well.
    const file = await first.fs.makeNode(ROOT, name("file"), 0o100644, 0, 0, CALLER);
    for (let i = 0; i < 40; i++) {
      await first.fs.write(file.ino, i * 6000, new Uint8Array(5000).fill(i), {});
      if (i % 8 === 0) await first.fs.sync();
    }
    await first.fs.sync();
    const all = await describeFileSystem(first.fs);
    expect(all).not.toEqual(wanted);
    expect(first.volume.sequence).toBe(sequence);
    const cut = await first.atRest().reopened();
    expect(await describeFileSystem(cut.fs)).toEqual(all);
    await cut.volume.close();
    const outcome = await fsckVolume({ copies: cut.copies, devices: [] }, { force: true, clock: cut.clock });
    expect(outcome.left.filter(({ severity }) => severity !== "note")).toEqual([]);
  });

  it("is shared by those who ask at the same time", async () => {
    const real = await opened(52);
    const file = await real.fs.makeNode(ROOT, name("log"), 0o100644, 0, 0, CALLER);
    await real.fs.write(file.ino, 0, new Uint8Array(10), {});
    const before = (real.devices[0] as { calls: { flush: number } }).calls.flush;
    await Promise.all(Array.from({ length: 20 }, () => real.fs.syncFile(file.ino)));
    expect((real.devices[0] as { calls: { flush: number } }).calls.flush - before).toBeLessThanOrEqual(2);
  });

  it("holds nobody up but those who asked: reads and other changes go on while the devices flush (I9)", async () => {
    const real = await opened(58);
    const file = await real.fs.makeNode(ROOT, name("log"), 0o100644, 0, 0, CALLER);
    await real.fs.write(file.ino, 0, new Uint8Array(100).fill(1), {});
    let flushed = (): void => undefined;
    const until = new Promise<void>((resolve) => (flushed = resolve));
    for (const device of real.devices) device.fail({ operation: "flush", nth: 1, effect: { kind: "late", until } });
    let isDurable = false;
    const asked = real.fs.syncFile(file.ino).then(() => (isDurable = true));
    expect((await real.fs.read(file.ino, 0, 100)).lengthBytes).toBe(100);
    await real.fs.makeDirectory(ROOT, name("meanwhile"), 0o755, CALLER);
    await real.fs.write(file.ino, 100, new Uint8Array(100).fill(2), {});
    expect((await real.fs.getAttributes(file.ino)).size).toBe(200);
    expect(isDurable).toBe(false);
    flushed();
    await asked;
  });

  it("is a commit without the copy when one fails (I2)", async () => {
    const real = await opened(53);
    const file = await real.fs.makeNode(ROOT, name("log"), 0o100644, 0, 0, CALLER);
    const { sequence } = real.volume;
    await real.fs.write(file.ino, 0, new Uint8Array(10).fill(1), {});
    real.devices[1]?.fail({ operation: "flush", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
    await real.fs.syncFile(file.ino);
    expect(real.volume.sequence).toBeGreaterThan(sequence);
    expect(real.volume.members.inSync).toBe(1);
  });

  it("that no copy could flush has failed for good: none after it says that it worked, and what can be read can be read", async () => {
    const real = await opened(59);
    const file = await real.fs.makeNode(ROOT, name("log"), 0o100644, 0, 0, CALLER);
    await real.fs.write(file.ino, 0, new Uint8Array(10).fill(1), {});
    // Once only: the devices would say that all is well from then on.
    for (const device of real.devices)
      device.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    await expect(real.fs.syncFile(file.ino)).rejects.toThrow();
    await expect(real.fs.syncFile(file.ino)).rejects.toThrow();
    await expect(real.fs.sync()).rejects.toThrow();
    expect(real.volume.readOnly).toBeDefined();
    expect((await real.fs.read(file.ino, 0, 10)).lengthBytes).toBe(10);
    await expect((async () => real.fs.write(file.ino, 0, new Uint8Array(10), {}))()).rejects.toThrow();
  });
});

describe("fsck", () => {
  async function pending(seed: number): Promise<{ cut: SimulatedVolume; wanted: string[] }> {
    const real = await opened(seed);
    for (const text of ["one", "two", "three"]) {
      const file = await real.fs.makeNode(ROOT, name(text), 0o100644, 0, 0, CALLER);
      await real.fs.write(file.ino, 0, new Uint8Array(5000).fill(3), {});
      await real.fs.sync();
    }
    const wanted = await describeFileSystem(real.fs);
    return { cut: real.atRest(), wanted };
  }
  const targetOf = (volume: SimulatedVolume) => ({ copies: volume.copies, devices: [] });
  const idsOf = (findings: readonly { name: string }[]): string[] => findings.map((finding) => finding.name);

  it("says what waits in the log, changes nothing with -n, and carries it out with -p", async () => {
    const { cut, wanted } = await pending(61);
    const looked = await fsckVolume(targetOf(cut), { force: true, clock: cut.clock });
    expect(idsOf(looked.findings)).toEqual(["log-pending"]);
    expect(looked.exitCode).toBe(0);
    const repaired = await fsckVolume(targetOf(cut), { force: false, repair: "safe", clock: cut.clock });
    // A note seen to is no error corrected.
    expect(repaired.exitCode).toBe(0);
    expect(repaired.left).toEqual([]);
    expect(await describeFileSystem((await cut.reopened()).fs)).toEqual(wanted);
  });

  it.each([0, 1])(
    "a log damaged on copy %d is read from the other (trap 4a); damaged on both, below what was acknowledged, it is refused (I4, trap 5)",
    async (first) => {
      const { cut, wanted } = await pending(62 + 2 * first);
      const spoil = async (copy: number): Promise<void> => {
        const head = rootLogHead((await cut.newestRoot()).view);
        const at = (head[copy] as number) * KIB + 300;
        await cut.devices[copy]?.write(at, [new Uint8Array(50).fill(0x99)]);
      };
      await spoil(first);
      expect(await describeFileSystem((await cut.atRest().reopened()).fs)).toEqual(wanted);
      await spoil(1 - first);
      await expect(cut.atRest().reopened()).rejects.toThrow(/acknowledged bytes of log .* can be read/);
      const found = await fsckVolume(targetOf(cut), { force: true, clock: cut.clock });
      expect(idsOf(found.findings)).toContain("log-lost");
      expect(found.exitCode).toBe(4);
      const repaired = await fsckVolume(targetOf(cut), { force: true, repair: "full", clock: cut.clock });
      expect(repaired.left).toEqual([]);
      expect(repaired.exitCode).toBe(1);
    },
  );

  it("cut short at any write leaves what was acknowledged: it writes over nothing that a record names (I3, I4)", async () => {
    const real = await (await SimulatedVolume.format(66, [16 * MIB])).remount();
    let content = 0;
    const file = async (text: string, sizesBytes: readonly number[]): Promise<number> => {
      const { ino } = await real.fs.makeNode(ROOT, name(text), 0o100644, 0, 0, CALLER);
      let at = 0;
      for (const size of sizesBytes) {
        await real.fs.write(ino, at, new Uint8Array(size).fill(++content), {});
        at += size;
      }
      return ino;
    };
    // Its record names a block. It is gone before what came after it, which is in the records whole.
    const gone = await file("gone", [64 * KIB]);
    await real.fs.unlink(ROOT, name("gone"), CALLER);
    real.fs.forget(gone, 1);
    await real.fs.settled();
    // So much that the log fills the places set aside for it, and the replay of it comes to take that of the block.
    await file("kept", new Array<number>(6).fill(32 * KIB));
    await real.fs.sync();
    const wanted = await describeFileSystem(real.fs);
    let cuts = 0;
    for (let isOver = false; !isOver; cuts++) {
      const cut = real.atRest();
      const [device] = cut.devices;
      device?.fail({ operation: "write", nth: cuts + 1, permanent: true, effect: { kind: "error", code: "EIO" } });
      isOver = await fsckVolume(targetOf(cut), { force: false, repair: "safe", clock: cut.clock }).then(
        () => true,
        () => false,
      );
      expect(await describeFileSystem((await cut.atRest().reopened()).fs), `write ${cuts + 1}`).toEqual(wanted);
    }
    expect(cuts).toBeGreaterThan(5);
  });

  it("a volume opened for reading only shows what is in the log, and writes nothing", async () => {
    const { cut, wanted } = await pending(63);
    const write = vi.spyOn(cut.devices[0] as { write: unknown } as never, "write");
    expect(await describeFileSystem((await cut.reopened({ readOnly: true })).fs)).toEqual(wanted);
    expect(write).not.toHaveBeenCalled();
  });
});
