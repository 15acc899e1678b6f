// What goes over the tree beside requests (scrub, revalidation, clearing behind a copy that leaves, handing over of what it
// alone has) when something comes between two of its steps: a commit, a failure, the operator's word, a device that does not
// answer any more (I1, I5, I6, I9).

import { afterEach, describe, expect, it, vi } from "vitest";
import { LoneCopy } from "../../src/copies/lone-copy.ts";
import { DEADLINE_MS_DEFAULT } from "../../src/copies/deadline.ts";
import { ContentLostError } from "../../src/device/device.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { KIB, NODE_HEADER_AREA_BYTES } from "../../src/format/geometry.ts";
import { MemberFlag } from "../../src/format/last-seen.ts";
import { rootMemberFlags } from "../../src/format/root-members.ts";
import { RefType } from "../../src/format/blockref.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { namedBlock, type NamedBlock } from "../../src/walk/named-block.ts";
import { Sweep } from "../../src/walk/sweep.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import {
  bulk,
  eachAlone,
  findings,
  formatted,
  formattedNodes,
  imagesOf,
  mount,
  type Mounted,
  settle,
  togetherAgain,
  unmount,
  worked,
  Workload,
} from "./copies-scene.ts";
import { setCopies } from "./narrow-scene.ts";
import { within } from "./virtual-time.ts";

const SIZES = [32 * MIB, 28 * MIB, 36 * MIB];
const AWAY = 1;

afterEach(() => vi.restoreAllMocks());

/** A volume that goes on while copy 1 is away; nothing is begun yet to take that back. */
async function stale(
  seed: number,
  bulkBytes: number,
  sizesBytes: readonly number[] = SIZES,
  before: { readonly bulkBytes?: number } = {},
): Promise<{ work: Workload; mounted: Mounted }> {
  const { work, mounted: first } = await worked(seed, await formattedNodes(seed, sizesBytes), { steps: 20, ...before });
  await unmount(first);
  const images = [...imagesOf(first.devices)];
  const earlier = images[AWAY];
  images[AWAY] = undefined;
  const others = await mount(seed, images, { degraded: true });
  await bulk(work, others.fs, "more", bulkBytes);
  await unmount(others);
  const all = imagesOf(others.devices).map((image, i) => (i === AWAY ? earlier : image));
  return { work, mounted: await mount(seed, all, { start: false }) };
}

/** All blocks of data that the live tree names. */
async function dataBlocks({ volume }: Mounted): Promise<NamedBlock[]> {
  return volume.untilLoaded(() => {
    const found: NamedBlock[] = [];
    new Sweep(volume.store, volume.rootImage).step([], Infinity, ({ block }, at) => {
      const named = namedBlock(block, at);
      if (named.type === RefType.DATA) found.push(named);
      return 1;
    });
    return found;
  });
}

function rotten(image: PagedImage, named: NamedBlock, copy: number, headerBytes = 0): PagedImage {
  const fork = image.fork();
  fork.flipBit(headerBytes + (named.pointers[copy] as number) * KIB, 3);
  return fork;
}

/** 3 MiB are written to the file "early" as soon as a scrub has found something bad. */
function growsOnceFound({ fs: mountedFs, volume }: Mounted, work: Workload): { readonly isOver: boolean } {
  const growth = { isOver: false };
  const { readBlocks } = LoneCopy.prototype;
  vi.spyOn(LoneCopy.prototype, "readBlocks").mockImplementation(async function (this: LoneCopy, requests) {
    await readBlocks.call(this, requests);
    if (growth.isOver || requests.every(({ error }) => error === undefined)) return;
    growth.isOver = true;
    for (let at = 0; at < 3; at++) {
      const step = { do: "write", at: ["early"], offset: at * MIB, length: MIB, fill: at } as const;
      for (const fs of [mountedFs, work.model]) expect(await runStep(fs, step)).toBe("ok");
    }
    await volume.forceCommit();
  });
  return growth;
}

describe("a scrub", () => {
  it("repairs what it found bad although so much was written meanwhile that its step is over before", async () => {
    const seed = 2100;
    const { work, mounted: first } = await worked(seed, await formatted(seed, SIZES), { steps: 5 });
    for (const fs of [first.fs, work.model]) expect(await runStep(fs, { do: "create", at: ["early"] })).toBe("ok");
    await bulk(work, first.fs, "late", 3 * MIB);
    const blocks = await dataBlocks(first);
    await unmount(first);
    // Of those that the first step of 2 MiB still reaches one of the last.
    const images = imagesOf(first.devices);
    const spoilt = [images[0], rotten(images[1] as PagedImage, blocks[12] as NamedBlock, 1), images[2]];
    const mounted = await mount(seed, spoilt);
    const growth = growsOnceFound(mounted, work);
    const scrub = mounted.caretaker.startScrub();
    await settle(mounted);
    expect(growth.isOver).toBe(true);
    expect(scrub.record).toMatchObject({ errors: 1, repaired: 1, lost: 0 });
    await unmount(mounted);
    await togetherAgain(seed, mounted, work, { everyRoot: false });
  });

  it("counts once what it can't repair, although its step is made once more", async () => {
    const seed = 2110;
    const { work, mounted: first } = await worked(seed, await formatted(seed, SIZES), { steps: 0 });
    await bulk(work, first.fs, "first", 64 * KIB);
    for (const fs of [first.fs, work.model]) expect(await runStep(fs, { do: "create", at: ["early"] })).toBe("ok");
    await bulk(work, first.fs, "late", 3 * MIB);
    const blocks = await dataBlocks(first);
    const [lasting, moving] = [blocks[0], blocks[12]] as [NamedBlock, NamedBlock];
    await unmount(first);
    const images = imagesOf(first.devices).map((image, i) =>
      i === 1 ? rotten(rotten(image!, lasting, 1), moving, 1) : image,
    );
    const mounted = await mount(seed, images);
    const atByte = lasting.pointers[1]! * KIB;
    const effect = { kind: "error", code: "EIO" } as const;
    mounted.devices[1]!.fail({ operation: "write", nth: 1, permanent: true, atByte, effect });
    const growth = growsOnceFound(mounted, work);
    const scrub = mounted.caretaker.startScrub();
    await settle(mounted);
    expect(growth.isOver).toBe(true);
    expect(scrub.record).toMatchObject({ errors: 2, repaired: 1, lost: 0 });
    await unmount(mounted);
  });

  it("repairs from a copy that is not back in use yet what is bad on all others", async () => {
    const seed = 2111;
    const { work, mounted: before } = await stale(seed, MIB, SIZES, { bulkBytes: MIB });
    // A block from before copy 1 was away.
    const named = (await dataBlocks(before)).find(({ pointers }) => pointers[AWAY] !== 0)!;
    await unmount(before);
    const images = imagesOf(before.devices).map((image, i) =>
      i === AWAY ? image : rotten(image!, named, i, NODE_HEADER_AREA_BYTES),
    );
    const mounted = await mount(seed, images, { start: false });
    expect(mounted.copies.copy(AWAY)!.standing).toBe("stale");
    const scrub = mounted.caretaker.startScrub();
    await settle(mounted);
    expect(scrub.record).toMatchObject({ errors: 2, repaired: 2, lost: 0 });
    await unmount(mounted);
    await eachAlone(
      seed,
      imagesOf(mounted.devices).map((image, i) => (i === AWAY ? undefined : image)),
      await work.tree(),
    );
  });

  it("does not keep anybody waiting when a device stops to answer", async () => {
    for (const nth of [1, 3, 6]) {
      const seed = 2120 + nth;
      const { work, mounted: first } = await worked(seed, await formatted(seed, SIZES), {
        steps: 20,
        bulkBytes: 6 * MIB,
      });
      await unmount(first);
      const mounted = await mount(seed, imagesOf(first.devices));
      mounted.devices[1]!.fail({ operation: "read", nth, permanent: true, effect: { kind: "hang" } });
      const scrub = mounted.caretaker.startScrub();
      await within(mounted.clock, 4 * DEADLINE_MS_DEFAULT, settle(mounted));
      expect(scrub.record.lost, `seed ${seed}`).toBe(0);
      await within(mounted.clock, 4 * DEADLINE_MS_DEFAULT, unmount(mounted));
      expect(mounted.copies.copy(1)!.standing).toBe("faulted");
      const images = imagesOf(mounted.devices).map((image, i) => (i === 1 ? undefined : image));
      await eachAlone(seed, images, await work.tree());
    }
  });
});

describe("a read that is never answered", () => {
  const hang = { permanent: true, effect: { kind: "hang" } } as const;

  it("is left when its copy was dropped for another reason", async () => {
    const seed = 2130;
    const { work, mounted: first } = await worked(seed, await formatted(seed, SIZES), { steps: 10, bulkBytes: MIB });
    await unmount(first);
    const mounted = await mount(seed, imagesOf(first.devices));
    const { clock, devices, caretaker, copies } = mounted;
    devices[1]!.fail({ operation: "read", nth: 2, ...hang });
    caretaker.startScrub();
    await clock.advance(100);
    devices[1]!.fail({ operation: "write", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
    await within(
      clock,
      1000,
      work.run(mounted.fs, 5).then(() => mounted.volume.barrier()),
    );
    expect(copies.copy(1)).toMatchObject({ standing: "faulted", stalled: false });
    expect(copies.copy(1)!.inFlight).toBeGreaterThan(0);
    await within(clock, 4 * DEADLINE_MS_DEFAULT, unmount(mounted));
    await eachAlone(
      seed,
      imagesOf(devices).map((image, i) => (i === 1 ? undefined : image)),
      await work.tree(),
    );
  });

  it("does not keep a commit waiting that other copies can do, though one copy alone has the block", async () => {
    const seed = 2131;
    const first = await mount(seed, await formatted(seed, SIZES));
    await setCopies(first.fs, "", 1);
    const work = new Workload(seed, 50_000);
    await work.begin(first.fs);
    await bulk(work, first.fs, "narrow", MIB);
    const [block] = (await dataBlocks(first)).filter(
      ({ pointers }) => pointers.filter((kib) => kib !== 0).length === 1,
    );
    await unmount(first);
    const mounted = await mount(seed, imagesOf(first.devices));
    const holder = block!.pointers.findIndex((kib) => kib !== 0);
    const atByte = block!.pointers[holder]! * KIB;
    mounted.devices[holder]!.fail({ operation: "read", nth: 1, atByte, ...hang });
    const read = describeFileSystem(mounted.fs, true);
    await mounted.clock.advance(100);
    await within(mounted.clock, 2 * DEADLINE_MS_DEFAULT, mounted.volume.forceCommit());
    await within(mounted.clock, 2 * DEADLINE_MS_DEFAULT, read);
    expect(mounted.copies.copy(holder)!.standing).toBe("faulted");
    await within(mounted.clock, 4 * DEADLINE_MS_DEFAULT, unmount(mounted));
  });

  it("does not keep a commit waiting when a scrub looks at a bad block again", async () => {
    const seed = 2132;
    const { work, mounted: first } = await worked(seed, await formatted(seed, SIZES), { steps: 5, bulkBytes: MIB });
    const named = (await dataBlocks(first))[3] as NamedBlock;
    await unmount(first);
    const images = imagesOf(first.devices).map((image, i) => (i === 0 ? rotten(image!, named, 0) : image));
    const mounted = await mount(seed, images);
    const atByte = named.pointers[1]! * KIB;
    mounted.devices[1]!.fail({ operation: "read", nth: 2, atByte, ...hang });
    const scrub = mounted.caretaker.startScrub();
    await mounted.clock.advance(100);
    await within(mounted.clock, 2 * DEADLINE_MS_DEFAULT, mounted.volume.forceCommit());
    await within(mounted.clock, 4 * DEADLINE_MS_DEFAULT, settle(mounted));
    expect(scrub.record).toMatchObject({ repaired: 1, lost: 0 });
    await within(mounted.clock, 4 * DEADLINE_MS_DEFAULT, unmount(mounted));
    expect(mounted.copies.copy(1)!.standing).toBe("faulted");
    await eachAlone(
      seed,
      imagesOf(mounted.devices).map((image, i) => (i === 1 ? undefined : image)),
      await work.tree(),
    );
  });
});

describe("a copy of unknown state", () => {
  /** Copy 1 rolled back by several commits. */
  async function unknown(
    seed: number,
    options: { start?: boolean } = {},
  ): Promise<{ work: Workload; mounted: Mounted }> {
    const { work, mounted: first } = await worked(seed, await formatted(seed, SIZES), {
      steps: 20,
      bulkBytes: 4 * MIB,
    });
    await unmount(first);
    const before = first.devices[AWAY]!.image;
    const second = await mount(seed, imagesOf(first.devices));
    for (let commit = 0; commit < 3; commit++) {
      await work.run(second.fs, 8);
      await second.volume.forceCommit();
    }
    await unmount(second);
    const images = imagesOf(second.devices).map((image, i) => (i === AWAY ? before.fork() : image));
    return { work, mounted: await mount(seed, images, options) };
  }

  it("that loses what it holds in the commit before its revalidation is over is not trusted (I6)", async () => {
    const seed = 2200;
    const { mounted } = await unknown(seed);
    const { volume, copies, devices } = mounted;
    const copy = copies.copy(AWAY)!;
    const change = volume.changeMembers.bind(volume);
    let lost = false;
    volume.changeMembers = async (body) => {
      if (copy.untrusted && copy.standing === "syncing" && !lost) {
        lost = true;
        devices[AWAY]!.flush = () => Promise.reject(new ContentLostError("copy1", "flush", 0, "ESTALE", "is empty"));
        await volume.forceCommit();
        expect(copy.standing).toBe("faulted");
      }
      return change(body);
    };
    await settle(mounted);
    expect(lost).toBe(true);
    expect(rootMemberFlags(volume.rootImage.view, AWAY) & MemberFlag.UNTRUSTED).not.toBe(0);
    await unmount(mounted);
  });

  it("whose device stops to answer while it is taken back keeps nobody waiting", async () => {
    for (const nth of [1, 2, 4, 8, 16]) {
      const seed = 2210 + nth;
      const { work, mounted } = await unknown(seed, { start: false });
      mounted.devices[AWAY]!.fail({ operation: "read", nth, permanent: true, effect: { kind: "hang" } });
      mounted.caretaker.start();
      await within(mounted.clock, 4 * DEADLINE_MS_DEFAULT, settle(mounted));
      await within(mounted.clock, 4 * DEADLINE_MS_DEFAULT, work.run(mounted.fs, 3));
      await within(mounted.clock, 4 * DEADLINE_MS_DEFAULT, unmount(mounted));
      const images = imagesOf(mounted.devices).map((image, i) => (i === AWAY ? undefined : image));
      await eachAlone(seed, images, await work.tree());
    }
  });
});

describe("a copy that leaves", () => {
  it("is gone, and keeps nobody waiting, although its device does not answer", async () => {
    for (const operation of ["write", "flush"] as const) {
      const seed = 2300;
      const { work, mounted } = await worked(seed, await formattedNodes(seed, SIZES), { steps: 20 });
      await mounted.caretaker.detach(AWAY);
      mounted.devices[AWAY]!.fail({ operation, nth: 1, permanent: true, effect: { kind: "hang" } });
      mounted.devices[AWAY]!.close = () => new Promise(() => undefined);
      await within(mounted.clock, 8 * DEADLINE_MS_DEFAULT, settle(mounted));
      expect(mounted.volume.members.all).toBe(0b101);
      await within(mounted.clock, DEADLINE_MS_DEFAULT, unmount(mounted));
      const images = imagesOf(mounted.devices).map((image, i) => (i === AWAY ? undefined : image));
      expect(await findings(seed, images, { everyRoot: true })).toEqual([]);
      await eachAlone(seed, images, await work.tree());
    }
  });
});

describe("a copy that is being taken back", () => {
  /** Does `word` after the n-th device call of what takes it back, for all n. */
  async function atEveryCall(
    word: (mounted: Mounted) => Promise<unknown>,
    after: (mounted: Mounted) => void,
  ): Promise<number> {
    for (let nth = 1; ; nth++) {
      const seed = 2400;
      const { work, mounted } = await stale(seed, MIB);
      const device = mounted.devices[AWAY]!;
      let left = nth;
      let said: Promise<unknown> | undefined;
      for (const call of ["read", "write", "flush"] as const) {
        const real = device[call].bind(device) as (...args: unknown[]) => Promise<void>;
        Object.assign(device, {
          [call]: (...args: unknown[]) => {
            const done = real(...args);
            // Not from within the call: nobody else runs there.
            if (left-- === 1)
              said = Promise.resolve()
                .then(() => word(mounted))
                .catch((error: unknown) => error);
            return done;
          },
        });
      }
      mounted.caretaker.start();
      await settle(mounted);
      await said;
      await settle(mounted);
      left = 0;
      expect(mounted.volume.readOnly, `call ${nth}\n${mounted.notes.join("\n")}`).toBeUndefined();
      if (said !== undefined) after(mounted);
      await work.run(mounted.fs, 3);
      await unmount(mounted);
      if (said === undefined) return nth;
      const again = await mount(seed, imagesOf(mounted.devices));
      await settle(again);
      await unmount(again);
      const images = imagesOf(again.devices);
      const serious = (await findings(seed, images)).filter(
        ({ name }) => !["copy-behind", "root-stale", "root-lost"].includes(name),
      );
      expect(serious, `call ${nth}`).toEqual([]);
      await eachAlone(
        seed,
        images.map((image, i) => ((again.volume.members.inSync & (1 << i)) === 0 ? undefined : image)),
        await work.tree(),
      );
    }
  }

  it("stays out when the operator takes it out meanwhile", async () => {
    const calls = await atEveryCall(
      ({ volume, caretaker }) => takeOut(volume, caretaker, AWAY, { lasting: true }),
      ({ volume, copies, notes }) => {
        expect(copies.copy(AWAY)!.standing, notes.join("\n")).toBe("offline");
        expect(rootMemberFlags(volume.rootImage.view, AWAY) & MemberFlag.OFFLINE).not.toBe(0);
      },
    );
    expect(calls).toBeGreaterThan(10);
  });

  it("and whose device stops to answer keeps nobody waiting, one other copy will do (I9)", async () => {
    for (const operation of ["write", "flush"] as const) {
      for (let nth = 1; nth <= 4; nth++) {
        const seed = 2420 + nth;
        const { work, mounted } = await stale(seed, MIB, SIZES.slice(0, 2));
        mounted.devices[AWAY]!.fail({ operation, nth, permanent: true, effect: { kind: "hang" } });
        mounted.caretaker.start();
        // Where it is taken back by then, a write waits for it as long as any does.
        await within(mounted.clock, 4 * DEADLINE_MS_DEFAULT, work.run(mounted.fs, 3));
        await within(mounted.clock, 4 * DEADLINE_MS_DEFAULT, unmount(mounted));
        expect(mounted.volume.failed, mounted.notes.join("\n")).toBe(false);
        await eachAlone(seed, [imagesOf(mounted.devices)[0]], await work.tree());
      }
    }
  });

  it("comes back once when the operator says the same", async () => {
    const calls = await atEveryCall(
      (mounted) => {
        Object.assign(mounted.copies, {
          open: () => {
            const { name, sizeBytes, image } = mounted.devices[AWAY]!;
            const device = new SimulatedDevice(name, sizeBytes, { image });
            (mounted.devices as SimulatedDevice[])[AWAY] = device;
            return Promise.resolve(device);
          },
        });
        return bringBack(mounted.volume, mounted.caretaker, AWAY);
      },
      ({ volume, notes }) => expect(volume.members.inSync, notes.join("\n")).toBe(0b111),
    );
    expect(calls).toBeGreaterThan(10);
  });
});
