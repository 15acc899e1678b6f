// A process killed at the worst of moments, and whoever comes after it, too: what was answered is there or the mount refuses to go
// on, nothing is done twice, and a copy that failed is not trusted again because nobody is left who remembers (I2, I4, traps 3, 4a, 4b, 4c,
// 6).

import { describe, expect, it } from "vitest";
import { formatUuid } from "../../src/base/uuid.ts";
import type { SimulatedDevice } from "../../src/device/simulated.ts";
import { KIB, ROOT_SLOTS, slotOffsets } from "../../src/format/geometry.ts";
import { rootLogId } from "../../src/format/root-log.ts";
import { Journal } from "../../src/log/journal.ts";
import { JOURNAL_BYTES, MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { copiesOf, devicesOver, formatted, type Images, mount, mountOn, type Mounted } from "./copies-scene.ts";

const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const WINDOW_BYTES = 64 * KIB;
const NEVER = new Promise<void>(() => undefined);
const REQUEST = 77;
const name = (text: string): Uint8Array => new TextEncoder().encode(text);

async function fileOn({ fs }: { readonly fs: SimulatedVolume["fs"] }, text: string): Promise<number> {
  return (await fs.makeNode(ROOT, name(text), 0o100644, 0, 0, CALLER)).ino;
}

const opened = async (seed: number, copies: number): Promise<SimulatedVolume> =>
  (await SimulatedVolume.format(seed, [24 * MIB, 32 * MIB].slice(0, copies))).remount();

/** Byte of the only block that holds `fill` throughout. */
function blockOf({ image }: SimulatedDevice, fill: number): number {
  const block = new Uint8Array(WINDOW_BYTES);
  for (let at = 0; at < image.sizeBytes; at += WINDOW_BYTES) {
    image.read(at, block);
    if (block.every((byte) => byte === fill)) return at;
  }
  throw new Error(`no block of ${fill}`);
}

describe("a write whose blocks can't be read by whoever takes over (trap 4a)", () => {
  /** One write that no copy got, so that nobody was answered, and one after it that was answered. */
  async function twoWrites(seed: number, copies: number) {
    const real = await opened(seed, copies);
    const [waiting, answered] = [await fileOn(real, "waiting"), await fileOn(real, "answered")];
    for (const device of real.devices)
      device.fail({ operation: "write", nth: 1, effect: { kind: "late", until: NEVER } });
    void real.fs.write(waiting, 0, new Uint8Array(WINDOW_BYTES).fill(1), {});
    await real.fs.write(answered, 0, new Uint8Array(WINDOW_BYTES).fill(2), {});
    return { real, waiting, answered };
  }

  const sizeOf = async ({ fs }: SimulatedVolume, ino: number): Promise<number> => (await fs.getAttributes(ino)).size;

  it.each([1, 2])("is left out when nobody was answered: it is sent again (%d copies)", async (copies) => {
    const { real, waiting, answered } = await twoWrites(71, copies);
    for (let next = await real.takeOver(), kills = 0; kills < 2; next = await next.takeOver(), kills++) {
      expect([await sizeOf(next, waiting), await sizeOf(next, answered)]).toEqual([0, WINDOW_BYTES]);
      expect((await next.fs.read(answered, 0, 10)).pieces[0]?.[0]).toBe(2);
    }
  });

  it.each([1, 2])("is refused when somebody was told that it is written (%d copies)", async (copies) => {
    const { real } = await twoWrites(72, copies);
    for (const { image } of real.devices) image.write(blockOf({ image } as SimulatedDevice, 2) + 5, Uint8Array.of(9));
    await expect(real.takeOver()).rejects.toThrow(/was told is written can't be read/);
  });

  it("is looked at on a server, which may have lost it since, and made good there (trap 4a)", async () => {
    const { real, answered } = await twoWrites(83, 2);
    const at = blockOf(real.devices[1]!, 2);
    for (const isFar of [false, true]) {
      const devices = devicesOver(real.devices.map(({ image }) => image.copy()));
      const memory = (real.journal as Uint8Array).slice();
      // All that was written is said to have arrived.
      const journal = new Journal(memory);
      journal.landedBytes = journal.endBytes;
      if (isFar) Object.defineProperty(devices[1], "distanceMs", { value: 3 });
      devices[1]!.image.write(at, new Uint8Array(WINDOW_BYTES));
      const copies = await copiesOf(83, devices);
      const { fs } = await mountOn(84, devices, copies, { journal, takeOver: true, start: false });
      expect((await fs.getAttributes(answered)).size).toBe(WINDOW_BYTES);
      const back = new Uint8Array(WINDOW_BYTES);
      devices[1]!.image.read(at, back);
      expect(back[0]).toBe(isFar ? 2 : 0);
    }
  });

  it("is not answered as written when every copy refused it", async () => {
    const real = await opened(73, 2);
    const ino = await fileOn(real, "lost");
    for (const device of real.devices)
      device.fail({ operation: "write", nth: 1, effect: { kind: "error", code: "ENOSPC" } });
    await expect((async () => real.fs.write(ino, 0, new Uint8Array(WINDOW_BYTES), {}))()).rejects.toThrow(/no copy/);
  });
});

describe("a copy that failed when the process died", () => {
  it("is left behind by the next: what it did not flush is not promised (I2)", async () => {
    const real = await opened(74, 2);
    const ino = await fileOn(real, "file");
    await real.fs.write(ino, 0, new Uint8Array(WINDOW_BYTES).fill(3), {});
    real.devices[1]?.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    real.devices[0]?.fail({ operation: "flush", nth: 1, effect: { kind: "late", until: NEVER } });
    void real.fs.sync();
    // Killed before anybody goes on without it; and so is the next one, before it gets anywhere.
    await new Promise(setImmediate);
    await real.takeOver();
    const next = await real.takeOver();
    expect(next.volume.members.inSync).toBe(0b01);
    expect(next.copies.copy(1)?.standing).toBe("stale");
    expect((await next.takeOver()).volume.members.inSync).toBe(0b01);
  });

  it("is not trusted by whoever comes after the next either, where what a server had flushed may be gone (I6)", async () => {
    const seed = 86;
    const place = new Place();
    place.images = await formatted(seed, [24 * MIB, 32 * MIB]);
    const begin = async (takeOver: boolean): Promise<Mounted> => {
      const devices = devicesOver(place.images);
      Object.defineProperty(devices[1], "distanceMs", { value: 3 });
      const options = { journal: new Journal(place.memory), takeOver, start: false };
      return mountOn(seed + openings++, devices, await copiesOf(seed, devices), options);
    };
    let openings = 1;
    const first = await begin(false);
    await fileOn(first, "file");
    first.devices[1]!.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    first.devices[0]!.fail({ operation: "flush", nth: 1, effect: { kind: "late", until: NEVER } });
    void first.volume.forceCommit();
    await new Promise(setImmediate);
    place.kill(first.devices, place.memory);
    const next = await begin(true);
    expect(next.copies.copy(1)).toMatchObject({ standing: "unknown" });
    place.kill(next.devices, place.memory);
    for (const takeOver of [true, false]) {
      const { copies, volume } = await begin(takeOver);
      expect(volume.members.inSync).toBe(0b01);
      expect(copies.copy(1), `take over: ${takeOver}`).toMatchObject({ standing: "stale", untrusted: true });
    }
  });

  it("and was the last one ends the mount: a flush that failed is not tried again (I2)", async () => {
    const real = await opened(75, 1);
    const ino = await fileOn(real, "file");
    await real.fs.write(ino, 0, new Uint8Array(WINDOW_BYTES).fill(3), {});
    real.devices[0]?.fail({ operation: "flush", nth: 1, effect: { kind: "error", code: "EIO" } });
    await expect(real.fs.sync()).rejects.toThrow();
    await expect(real.takeOver()).rejects.toThrow(/every copy in sync failed/);
  });
});

/** What outlives processes on two copies, some of them missing now and then. */
class Place {
  images: Images = [];
  memory = new Uint8Array(JOURNAL_BYTES);

  kill(devices: readonly (SimulatedDevice | undefined)[], memory: Uint8Array): void {
    this.images = this.images.map((before, i) => (devices[i] === undefined ? before : devices[i].image.copy()));
    this.memory = memory.slice();
  }
}

/** Holds every root back that `device` is given; resolves when the first one is. */
function holdRoots(device: SimulatedDevice): Promise<void> {
  return new Promise((resolve) => {
    const until = {
      then: () => {
        resolve();
        return NEVER;
      },
    } as unknown as Promise<void>;
    for (let slot = 0; slot < ROOT_SLOTS; slot++) {
      for (const atByte of slotOffsets(slot, device.sizeBytes))
        device.fail({ operation: "write", nth: 1, permanent: true, atByte, effect: { kind: "late", until } });
    }
  });
}

describe("a root that only an absent copy has (trap 3)", () => {
  it("is not taken for one that was sealed later, which holds more: the mount refuses rather than lose what lies between", async () => {
    const seed = 76;
    const place = new Place();
    place.images = await formatted(seed, [24 * MIB, 32 * MIB]);
    const first: Mounted = await mount(seed, place.images, { journal: new Journal(place.memory), start: false });
    await first.fs.makeDirectory(ROOT, name("before"), 0o755, CALLER);
    const held = holdRoots(first.devices[1]!);
    void first.volume.forceCommit();
    await held;
    await first.fs.makeDirectory(ROOT, name("after"), 0o755, CALLER);
    // Killed with the new root on copy 0 alone, which is not there for the next one. That dies with its own root sealed.
    place.kill(first.devices, place.memory);
    const devices = devicesOver([undefined, place.images[1]]);
    const memory = place.memory.slice();
    const heldAgain = holdRoots(devices[1]!);
    const options = { journal: new Journal(memory), takeOver: true, start: false };
    void mountOn(seed + 1, devices, await copiesOf(seed, devices), options);
    await heldAgain;
    place.kill(devices, memory);
    const last = { journal: new Journal(place.memory), takeOver: true, start: false };
    await expect(mount(seed + 2, place.images, last, seed)).rejects.toThrow(
      /the journal of this mount does not go on from root \d+; mount again/,
    );
  });
});

describe("what is made while a commit is under way (trap 6)", () => {
  it("comes back the same, whichever root a replay goes on from: with another generation the kernel would call it stale", async () => {
    for (const isIssued of [false, true]) {
      const seed = isIssued ? 79 : 80;
      const place = new Place();
      place.images = await formatted(seed, [24 * MIB]);
      const first = await mount(seed, place.images, { journal: new Journal(place.memory), start: false });
      const early = await fileOn(first, "early");
      first.devices[0]!.fail({ operation: "flush", nth: isIssued ? 2 : 1, effect: { kind: "late", until: NEVER } });
      void first.volume.forceCommit();
      const late = await fileOn(first, "late");
      const inodes = ({ fs }: Mounted) => Promise.all([early, late].map(async (ino) => fs.getAttributes(ino)));
      const made = await inodes(first);
      await new Promise(setImmediate);
      for (let kills = 0, killed = first; kills < 2; kills++) {
        place.kill(killed.devices, place.memory);
        const options = { journal: new Journal(place.memory), takeOver: true, start: false };
        killed = await mount(seed, place.images, options);
        expect(await inodes(killed), `root issued: ${isIssued}, kill ${kills}`).toEqual(made);
      }
    }
  });
});

describe("the log of a volume that was taken over (trap 4c)", () => {
  it.each([true, false])("is a fresh one, whether there was something to carry out or not (%s)", async (worked) => {
    const real = await opened(82, 2);
    const logIds: string[] = [];
    const noteLog = async (now: SimulatedVolume): Promise<void> => {
      logIds.push(formatUuid(rootLogId((await now.atRest().newestRoot()).view)));
    };
    await noteLog(real);
    for (let next = real, kills = 0; kills < 3; kills++) {
      if (worked) await next.fs.makeDirectory(ROOT, name(`made ${kills}`), 0o755, CALLER);
      if (worked) await next.fs.sync();
      next = await next.takeOver();
      await noteLog(next);
    }
    expect(new Set(logIds).size).toBe(4);
  });
});

describe("a request whose answer is owed over several processes (trap 4b)", () => {
  it("is answered even if the journal was full when the first died", async () => {
    const real = await opened(77, 1);
    const create = { op: "create", parent: ROOT, name: name("once"), ino: 500, mode: 0o100600, umask: 0 } as const;
    const owner = { uid: 1, gid: 2, rdevMajor: 0, rdevMinor: 0, time: { sec: 5, nsec: 6 }, generation: 5 };
    const result = await real.volume.apply({ ...create, ...owner }, REQUEST);
    const file = await fileOn(real, "file");
    // No commit comes to its end, so the journal fills up.
    real.devices[0]?.fail({ operation: "flush", nth: 1, permanent: true, effect: { kind: "late", until: NEVER } });
    const journal = new Journal(real.journal as Uint8Array);
    for (let i = 0; !journal.isFull; i++)
      await real.fs.write(file, i * WINDOW_BYTES, new Uint8Array(60_000).fill(i), {});
    let next = await real.takeOver();
    for (let kills = 0; kills < 3; kills++) {
      expect(next.volume.replayed(REQUEST), `after kill ${kills}`).toEqual(result);
      next = await next.takeOver();
    }
    // What the process at hand did is answered before the rest is.
    next.volume.answered(false);
    next = await next.takeOver();
    expect(next.volume.replayed(REQUEST)).toEqual(result);
    next.volume.answered(true);
    expect((await next.takeOver()).volume.replayed(REQUEST)).toEqual(result);
    await next.volume.forceCommit();
    expect((await next.takeOver()).volume.replayed(REQUEST)).toBeUndefined();
  });

  it("is owed to nobody by the next mount, in which the kernel counts requests from the beginning again", async () => {
    const real = await opened(81, 1);
    await real.fs.makeDirectory(ROOT, name("made"), 0o755, { ...CALLER, requestId: REQUEST });
    const next = await real.takeOver();
    expect(next.volume.replayed(REQUEST)).toBeDefined();
    // The answer is in the log now, and so is an operation of another request.
    await next.fs.makeDirectory(ROOT, name("more"), 0o755, { ...CALLER, requestId: REQUEST + 1 });
    await next.fs.sync();
    const mounted = await next.atRest().reopened();
    const resent = await mounted.takeOver();
    for (const { volume, fs } of [mounted, resent]) {
      expect((await fs.lookup(ROOT, name("more")))?.ino).toBeDefined();
      expect([volume.replayed(REQUEST), volume.replayed(REQUEST + 1)]).toEqual([undefined, undefined]);
    }
  });
});
