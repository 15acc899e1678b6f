// The scrub (I5): every bad block of a copy in sync is found and repaired from another, one that is bad everywhere is told and
// left alone, and it goes on where it was when it was paused or the volume mounted again.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { carryOut } from "../../src/daemon/verbs.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { rootScrub, rootScrubCursor } from "../../src/format/root-block.ts";
import { KIB, RING_AREA_KIB } from "../../src/format/geometry.ts";
import { Caretaker } from "../../src/walk/caretaker.ts";
import { MIB } from "../model/simulated-volume.ts";
import {
  eachAlone,
  findings,
  formatted,
  type Images,
  imagesOf,
  mount,
  settle,
  togetherAgain,
  unmount,
  worked,
  type Workload,
} from "./copies-scene.ts";
import { within } from "./virtual-time.ts";

const SIZES = [24 * MIB, 24 * MIB];

async function filled(seed: number): Promise<{ work: Workload; images: Images }> {
  const { work, mounted } = await worked(seed, await formatted(seed, SIZES), { steps: 25, bulkBytes: 6 * MIB });
  await unmount(mounted);
  return { work, images: imagesOf(mounted.devices) };
}

function rotten(image: PagedImage, random: SeededRandom, from: number, to: number): PagedImage {
  const fork = image.fork();
  for (let i = 0; i < 60; i++) fork.flipBit(from + random.below(to - from), random.below(8));
  return fork;
}

/** Bit rot in different places of the two copies, so that every block is good on one of them. */
async function rottenApart(seed: number): Promise<{ work: Workload; images: Images; bad: number }> {
  const { work, images } = await filled(seed);
  const random = new SeededRandom(seed);
  const first = RING_AREA_KIB * KIB;
  const spoilt = [
    rotten(images[0]!, random, first, first + 3 * MIB),
    rotten(images[1]!, random, first + 5 * MIB, first + 8 * MIB),
  ];
  const bad = (await findings(seed, spoilt)).filter(({ name }) => name === "block-bad").length;
  return { work, images: spoilt, bad };
}

describe("a scrub", () => {
  it("finds every bad block and repairs it, while work goes on", async () => {
    for (let seed = 900; seed < 906; seed++) {
      const { work, images, bad } = await rottenApart(seed);
      expect(bad).toBeGreaterThan(20);
      const mounted = await mount(seed, images);
      const scrub = mounted.caretaker.startScrub();
      expect(() => mounted.caretaker.startScrub()).toThrow(/under way/);
      if (seed % 2 === 0) await work.run(mounted.fs, 10);
      await settle(mounted);
      expect(scrub.record.lost).toBe(0);
      expect(scrub.record.repaired, `seed ${seed}`).toBe(scrub.record.errors);
      expect(scrub.record.bytes).toBeGreaterThan(12 * MIB);
      expect(scrub.record.finishedSec).toBeGreaterThan(0);
      await unmount(mounted);
      expect(rootScrub(mounted.volume.rootImage.view)).toEqual(scrub.record);
      await togetherAgain(seed, mounted, work, { everyRoot: false });
    }
  });

  it("tells of blocks that no copy has, and overwrites none of them", async () => {
    const seed = 910;
    const { images } = await filled(seed);
    const random = new SeededRandom(seed);
    const spoilt = images.map((image) => rotten(image!, new SeededRandom(seed), 3 * MIB, 5 * MIB));
    const lost = (await findings(seed, spoilt)).filter(({ name }) => name === "block-lost").length;
    expect(lost, `seed ${random.seed}`).toBeGreaterThan(5);
    const mounted = await mount(seed, spoilt);
    // They are known of then as if programs had met them, and found again when that was forgotten.
    for (let times = 0; times < 2; times++) {
      const scrub = mounted.caretaker.startScrub();
      await settle(mounted);
      expect(scrub.record).toMatchObject({ lost, errors: 2 * lost, repaired: 0 });
      expect(mounted.volume.store.lostCount).toBe(lost);
      expect(await carryOut({ verb: "clear", args: {} }, mounted)).toBeUndefined();
      expect(mounted.volume.store.lostCount).toBe(0);
    }
    await unmount(mounted);
    expect((await findings(seed, imagesOf(mounted.devices))).length).toBe(lost);
  });

  it("is paused and resumed, and goes on at the next mount until it is cancelled", async () => {
    const seed = 920;
    const { work, images, bad } = await rottenApart(seed);
    let mounted = await mount(seed, images, { stopAfterSteps: 2 });
    const scrub = mounted.caretaker.startScrub();
    scrub.pause();
    expect(scrub.isPaused).toBe(true);
    scrub.resume();
    await settle(mounted);
    await unmount(mounted);
    const { view } = mounted.volume.rootImage;
    expect(rootScrubCursor(view)).not.toBe(0);
    expect(rootScrub(view).finishedSec).toBe(0);
    mounted = await mount(seed, imagesOf(mounted.devices));
    expect(mounted.caretaker.scrub).toBeDefined();
    await settle(mounted);
    // What a program, or the walk itself, reads is repaired without the scrub.
    const repaired = mounted.copies.copies.reduce((sum, copy) => sum + copy.repaired, 0);
    expect(repaired).toBe(bad);
    mounted.caretaker.startScrub().cancel();
    await settle(mounted);
    expect(rootScrubCursor(mounted.volume.rootImage.view)).toBe(0);
    await unmount(mounted);
    await togetherAgain(seed, mounted, work, { everyRoot: false });
  });

  it("takes as long as the bound on its speed asks for", async () => {
    const seed = 925;
    const { images } = await filled(seed);
    const { clock, volume } = await mount(seed, images, { start: false });
    const caretaker = new Caretaker(volume, { clock, bytesPerSecond: MIB });
    const { record } = caretaker.startScrub();
    await within(clock, 60_000, caretaker.settled("scrub"));
    // What is told of it afterwards grows no further.
    const tookMs = caretaker.lastScrub?.scrub.speed.ms;
    await clock.advance(5000);
    expect(caretaker.lastScrub?.scrub.speed.ms).toBe(tookMs);
    const leastMs = (record.bytes / MIB) * 1000;
    expect(record.bytes).toBeGreaterThan(12 * MIB);
    expect(tookMs).toBeGreaterThanOrEqual(leastMs);
    expect(tookMs).toBeLessThan(leastMs * 1.1);
    await within(clock, 0, caretaker.close());
    await within(clock, 0, volume.close());
  });

  it("goes on over the copies that are left when one fails", async () => {
    for (let nth = 1; nth < 8; nth++) {
      const seed = 930 + nth;
      const { work, images } = await filled(seed);
      const mounted = await mount(seed, images);
      mounted.devices[1]!.fail({ operation: "write", nth, permanent: true, effect: { kind: "error", code: "EIO" } });
      mounted.devices[1]!.fail({ operation: "read", nth, permanent: true, effect: { kind: "error", code: "EIO" } });
      const scrub = mounted.caretaker.startScrub();
      await work.run(mounted.fs, 10);
      await settle(mounted);
      await unmount(mounted);
      expect(scrub.record.lost, `seed ${seed}`).toBe(0);
      const [first] = imagesOf(mounted.devices);
      await eachAlone(seed, [first, undefined], await work.tree());
      const again = await mount(seed, imagesOf(mounted.devices));
      await settle(again);
      await unmount(again);
      await togetherAgain(seed, again, work, { everyRoot: false });
    }
  });
});
