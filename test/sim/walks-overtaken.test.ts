// Walks that change where blocks lie, and what they wait for meanwhile: another walk that changes the same refs, the end of
// their copy, a device that answers late (I3, I5, I7, I8).

import { afterEach, describe, expect, it, vi } from "vitest";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { RefType } from "../../src/format/blockref.ts";
import { KIB, NODE_HEADER_AREA_BYTES, ROOT_SLOTS } from "../../src/format/geometry.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { Detach } from "../../src/walk/detach.ts";
import { blockKey, namedBlock, type NamedBlock } from "../../src/walk/named-block.ts";
import { findOwed, type OwedList } from "../../src/walk/owed.ts";
import { Pace } from "../../src/walk/pace.ts";
import { Resync } from "../../src/walk/resync.ts";
import { Sweep } from "../../src/walk/sweep.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import {
  bulk,
  findings,
  formattedNodes,
  imagesOf,
  mount,
  type Mounted,
  settle,
  targetOf,
  togetherAgain,
  treeOf,
  unmount,
  worked,
  Workload,
} from "./copies-scene.ts";
import { setCopies } from "./narrow-scene.ts";

const SIZES = [24 * MIB, 24 * MIB, 24 * MIB];
const AWAY = 1;

afterEach(() => vi.restoreAllMocks());

/** All that the live tree names. */
function named({ volume }: Mounted): Promise<NamedBlock[]> {
  return volume.untilLoaded(() => {
    const found: NamedBlock[] = [];
    new Sweep(volume.store, volume.rootImage).step([], Infinity, ({ block }, at) => {
      found.push(namedBlock(block, at));
      return 1;
    });
    return found;
  });
}

/** Copy 1 was away for a while; it is opened anew when it is brought back. */
async function away(seed: number): Promise<{ work: Workload; mounted: Mounted }> {
  const { work, mounted } = await worked(seed, await formattedNodes(seed, SIZES), { steps: 15, bulkBytes: 2 * MIB });
  await takeOut(mounted.volume, mounted.caretaker, AWAY, { lasting: false });
  await bulk(work, mounted.fs, "more", 3 * MIB);
  Object.assign(mounted.copies, {
    open: () => {
      const { name, sizeBytes, image } = mounted.devices[AWAY]!;
      const device = new SimulatedDevice(name, sizeBytes, { image });
      (mounted.devices as SimulatedDevice[])[AWAY] = device;
      return Promise.resolve(device);
    },
  });
  return { work, mounted };
}

const back = ({ volume, caretaker }: Mounted): Promise<void> => bringBack(volume, caretaker, AWAY);

/** Lets everything that waits for nothing but its turn go on. */
async function turns({ clock }: Mounted): Promise<void> {
  for (let turn = 0; turn < 100; turn++) await clock.advance(0);
}

describe("two copies that leave at once", () => {
  it("leave no trace, although what one clears has another name by the time the other has brought it elsewhere (I8)", async () => {
    const seed = 2500;
    const leaving = [2, 3];
    const first = await mount(seed, await formattedNodes(seed, [...SIZES, 24 * MIB]));
    await setCopies(first.fs, "", 2);
    const work = new Workload(seed, 50_000);
    await work.begin(first.fs);
    for (let i = 0; i < 12; i++) await bulk(work, first.fs, `narrow${i}`, MIB / 4);
    vi.spyOn(Detach.prototype, "run").mockResolvedValue(false);
    for (const index of leaving) await first.caretaker.detach(index);
    await unmount(first);
    vi.restoreAllMocks();
    // Both go on at once.
    const mounted = await mount(seed, imagesOf(first.devices));
    await settle(mounted);
    expect(mounted.volume.members.all, mounted.notes.join("\n")).toBe(0b0011);
    const left = (await named(mounted)).filter(({ pointers }) => leaving.some((index) => pointers[index] !== 0));
    expect(left).toEqual([]);
    await unmount(mounted);
    const images = imagesOf(mounted.devices).slice(0, 2);
    expect(await findings(seed, images, { everyRoot: true })).toEqual([]);
    expect(await treeOf(seed, images)).toBe(await work.tree());
  });

  it("count once what is on one of them alone and can't be read, however often they look at it", async () => {
    const seed = 2501;
    const first = await mount(seed, await formattedNodes(seed, [...SIZES, 24 * MIB]));
    const work = new Workload(seed, 50_000);
    await work.begin(first.fs);
    for (const copies of [1, 2]) {
      await setCopies(first.fs, "", copies);
      for (let i = 0; i < 12; i++) await bulk(work, first.fs, `narrow${copies}-${i}`, MIB / 4);
    }
    const lone = (await named(first)).find(({ holders }) => holders === 0b1000);
    vi.spyOn(Detach.prototype, "run").mockResolvedValue(false);
    for (const index of [2, 3]) await first.caretaker.detach(index);
    await unmount(first);
    vi.restoreAllMocks();
    const images = imagesOf(first.devices).map((image, i) => (i === 3 ? image!.fork() : image));
    images[3]!.flipBit(NODE_HEADER_AREA_BYTES + lone!.pointers[3]! * KIB, 3);
    const mounted = await mount(seed, images);
    await settle(mounted);
    expect(mounted.volume.members.all).toBe(0b1011);
    expect(mounted.notes.join("\n")).toMatch(/copy 3 can't leave: it alone holds 1 blocks/);
    await unmount(mounted);
  });
});

describe("a copy that leaves before what it got is durable", () => {
  it("leaves as many copies of that as there were to be", async () => {
    const seed = 2503;
    const mounted = await mount(seed, await formattedNodes(seed, [...SIZES, 24 * MIB, 24 * MIB]));
    await setCopies(mounted.fs, "", 2);
    await mounted.volume.forceCommit();
    const work = new Workload(seed, 50_000);
    await work.begin(mounted.fs);
    for (let i = 0; i < 10; i++) {
      const step = { do: "write", at: [`narrow${i}`], offset: 0, length: 9000, fill: i } as const;
      for (const each of [mounted.fs, work.model]) {
        await runStep(each, { do: "create", at: step.at });
        expect(await runStep(each, step)).toBe("ok");
      }
    }
    await mounted.caretaker.detach(0);
    await settle(mounted);
    expect(mounted.volume.members.all, mounted.notes.join("\n")).toBe(0b11110);
    const narrow = (await named(mounted)).filter(({ holders }) => holders !== 0);
    expect(narrow).toHaveLength(10);
    for (const { pointers } of narrow) expect(pointers.filter((kib) => kib !== 0)).toHaveLength(2);
    await unmount(mounted);
    const images = imagesOf(mounted.devices).slice(1);
    expect(await findings(seed, images, { everyRoot: true })).toEqual([]);
    expect(await treeOf(seed, images)).toBe(await work.tree());
  });
});

describe("a copy that is being caught up", () => {
  it("keeps its last complete state when the operator says once more that it is to come back (I7)", async () => {
    const seed = 2510;
    const { work, mounted } = await away(seed);
    const { volume, copies, fs } = mounted;
    const forced = (): Promise<string> => {
      const alone = imagesOf(mounted.devices).map((image, i) => (i === AWAY ? image!.copy() : undefined));
      return treeOf(seed, alone, { forcedMaster: AWAY });
    };
    const before = await forced();
    const resync = vi.spyOn(Resync.prototype, "run").mockResolvedValue("no-room");
    await back(mounted);
    await settle(mounted);
    expect(copies.copy(AWAY)!.standing).toBe("syncing");
    // Whatever is read of its last state, work goes on before the answer is there.
    const device = mounted.devices[AWAY]!;
    const read = device.read.bind(device);
    let working: Promise<void> | undefined;
    const goOn = (): Promise<void> =>
      (working ??= (async () => {
        for (let i = 0; i < 2; i++) await bulk(work, fs, `meanwhile${i}`, 3 * MIB);
      })());
    device.read = (...given) => goOn().then(() => read(...given));
    await back(mounted);
    device.read = read;
    await goOn();
    expect(volume.rings.ring(AWAY)!.anchor).toBeDefined();
    expect(await forced()).toBe(before);
    resync.mockRestore();
    await back(mounted);
    await settle(mounted);
    await unmount(mounted);
    await togetherAgain(seed, mounted, work);
  });

  it("or is just being taken back by the mount stays open when the operator says that it is to come back", async () => {
    const seed = 2515;
    const { work, mounted: first } = await away(seed);
    await unmount(first);
    const mounted = await mount(seed, imagesOf(first.devices), { start: false });
    const { copies, caretaker, devices } = mounted;
    expect(copies.copy(AWAY)!.standing).toBe("stale");
    const open = vi.fn();
    Object.assign(copies, { open });
    const device = devices[AWAY]!;
    const read = device.read.bind(device);
    let answer = (): void => undefined;
    const late = new Promise<void>((resolve) => (answer = resolve));
    device.read = (...given) => late.then(() => read(...given));
    caretaker.start();
    await turns(mounted);
    const online = back(mounted);
    await turns(mounted);
    answer();
    await online;
    await settle(mounted);
    expect(open).not.toHaveBeenCalled();
    expect(copies.copy(AWAY)!.standing, mounted.notes.join("\n")).toBe("in-sync");
    await unmount(mounted);
    await togetherAgain(seed, mounted, work);
  });

  it("and leaves meanwhile has nothing to do with the one that gets its index next", async () => {
    const seed = 2520;
    const { work, mounted } = await away(seed);
    const { volume, caretaker, copies } = mounted;
    const waiting: (() => void)[] = [];
    vi.spyOn(Pace.prototype, "take").mockImplementation(() => new Promise((resolve) => waiting.push(resolve)));
    await back(mounted);
    await turns(mounted);
    expect(waiting).toHaveLength(1);
    await caretaker.detach(AWAY);
    await caretaker.settled("detach");
    const fresh = new SimulatedDevice("new", 24 * MIB);
    (mounted.devices as SimulatedDevice[])[AWAY] = fresh;
    await caretaker.attach(targetOf(fresh));
    await turns(mounted);
    expect(copies.copy(AWAY)!.name).toBe("new");
    expect(waiting).toHaveLength(2);
    const ended = vi.spyOn(volume.store.freemaps[AWAY]!, "endReservation");
    waiting[0]!();
    await turns(mounted);
    expect(ended).not.toHaveBeenCalled();
    const stopped = caretaker.stop(AWAY);
    await turns(mounted);
    waiting[1]!();
    await stopped;
    expect(caretaker.catchUps.get(AWAY)!.end).toBe("stopped");
    vi.restoreAllMocks();
    await back(mounted);
    await settle(mounted);
    await unmount(mounted);
    await togetherAgain(seed, mounted, work);
  });
});

describe("an operation that enters places, and is undone for want of room", () => {
  it("has set them aside again when it is made once more, by when some of the blocks are gone (I3)", async () => {
    const seed = 2525;
    const { work, mounted } = await away(seed);
    const { volume, fs } = mounted;
    const { store, rings } = volume;
    const freemap = store.freemaps[AWAY]!;
    let [entered, undone, gone] = [false, false, false];
    const end = freemap.endReservation.bind(freemap);
    vi.spyOn(freemap, "endReservation").mockImplementation((kib, sizeKib, used) => {
      entered ||= used;
      end(kib, sizeKib, used);
    });
    // What the engine asks for after an operation, and before it makes room by a commit.
    vi.spyOn(store, "narrowBytes", "get").mockImplementation(() => {
      if (!entered || undone || !store.inOperation) return undone && !gone ? 1 : 0;
      undone = true;
      return Number.MAX_SAFE_INTEGER;
    });
    const write = rings.write.bind(rings);
    vi.spyOn(rings, "write").mockImplementation(async (image) => {
      await write(image);
      if (!undone || gone) return;
      gone = true;
      for (const each of [fs, work.model]) expect(await runStep(each, { do: "unlink", at: ["more"] })).toBe("ok");
    });
    await back(mounted);
    await settle(mounted);
    expect(gone).toBe(true);
    await unmount(mounted);
    await togetherAgain(seed, mounted, work);
  });
});

describe("a bad block that a resync reads", () => {
  it("is repaired before its place can be given to another one (I3, I5)", async () => {
    const seed = 2530;
    const { work, mounted } = await away(seed);
    const { volume, devices, fs, clock } = mounted;
    const bad = (await named(mounted)).find(({ type, pointers }) => type === RefType.DATA && pointers[AWAY] === 0)!;
    devices[0]!.image.flipBit(NODE_HEADER_AREA_BYTES + bad.pointers[0]! * KIB, 3);
    // What copy 2 has of it is read, and comes late.
    const place = NODE_HEADER_AREA_BYTES + bad.pointers[2]! * KIB;
    const real = devices[2]!.read.bind(devices[2]);
    let answer = (): void => undefined;
    const late = new Promise<void>((resolve) => (answer = resolve));
    devices[2]!.read = async (offset, targets) => {
      await real(offset, targets);
      const end = targets.reduce((sum, { length }) => sum + length, offset);
      if (offset <= place && place < end) await late;
    };
    await back(mounted);
    await clock.advance(100);
    for (const each of [fs, work.model]) expect(await runStep(each, { do: "unlink", at: ["more"] })).toBe("ok");
    const committed = Promise.all(Array.from({ length: 2 * ROOT_SLOTS }, () => volume.forceCommit()));
    await turns(mounted);
    expect(volume.store.freemaps[0]!.reserveAt(bad.pointers[0]!, bad.sizeBytes / KIB)).toBe(false);
    answer();
    await committed;
    await settle(mounted);
    await unmount(mounted);
    await togetherAgain(seed, mounted, work);
  });
});

describe("a block that is still being written", () => {
  it("is brought when it is, and not taken for one that nobody can read", async () => {
    const { mounted } = await away(2540);
    const { volume } = mounted;
    vi.spyOn(Resync.prototype, "run").mockResolvedValue("stopped");
    await back(mounted);
    const owed = (): Promise<OwedList> => {
      const limits = { blocksMax: Infinity, bytesMax: Infinity };
      return volume.untilLoaded(() => findOwed(volume.store, volume.rootImage, AWAY, limits, new Set()));
    };
    const before = await owed();
    expect(before.unsealed).toBe(false);
    const keys = before.blocks.map(blockKey);
    let underWay: { writing: number } | undefined;
    new Sweep(volume.store, volume.rootImage).step([], Infinity, ({ block }, at) => {
      if (keys.includes(blockKey(namedBlock(block, at)))) underWay ??= volume.store.peek(block, at);
      return 1;
    });
    underWay!.writing++;
    const meanwhile = await owed();
    expect([meanwhile.unsealed, meanwhile.blocks.length]).toEqual([true, keys.length - 1]);
    underWay!.writing--;
    await unmount(mounted);
  });
});
