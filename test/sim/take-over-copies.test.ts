// A process killed while a copy fails, or while one is caught up: whoever takes its place goes on from the journal, loses
// nothing that was completed, and brings all copies together again (I1, I4, I8).

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { ROOT_SLOTS, slotOffsets } from "../../src/format/geometry.ts";
import { ROOT_BYTES } from "../../src/format/root-block.ts";
import { Journal } from "../../src/log/journal.ts";
import { describeFileSystem } from "../model/digest.ts";
import { beginDetach } from "../../src/walk/detach.ts";
import { takeOut } from "../../src/walk/take-out.ts";
import { JOURNAL_BYTES, MIB } from "../model/simulated-volume.ts";
import { runStep } from "../model/workload.ts";
import {
  formatted,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  type MountOptions,
  settle,
  togetherAgain,
  unmount,
  Workload,
} from "./copies-scene.ts";

const SIZES = [18 * MIB, 24 * MIB, 20 * MIB];
const KILLS = 3;

/** What outlives the process. */
class Life {
  readonly #seed: number;
  readonly #memory = new Uint8Array(JOURNAL_BYTES);
  #options: MountOptions = {};
  #lives = 0;

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** `options`: of all its processes. */
  async begin(images: Images, options = this.#options): Promise<Mounted> {
    this.#options = options;
    const handed = { journal: new Journal(this.#memory), takeOver: this.#lives > 0 };
    return mount(this.#seed + 100 * this.#lives++, images, { ...options, ...handed }, this.#seed);
  }

  /**
   * Kills the process as it is, with whatever it was in the middle of, and starts another one; `others` are what it finds instead, null
   * nothing.
   */
  async takeOver(killed: Mounted, others: readonly (PagedImage | null | undefined)[] = []): Promise<Mounted> {
    const images = killed.devices.map((device, copy) =>
      others[copy] === null ? undefined : (others[copy] ?? device?.image.copy()),
    );
    const memory = this.#memory.slice();
    // Nothing it still does reaches what we took.
    await unmount(killed).catch(() => undefined);
    this.#memory.set(memory);
    return this.begin(images);
  }
}

/** What is in the slots of its ring. */
function rootsOf(image: PagedImage): string[] {
  const slots = Array.from({ length: ROOT_SLOTS }, (_, slot) => slotOffsets(slot, image.sizeBytes)).flat();
  return slots.map((at) => {
    const bytes = new Uint8Array(ROOT_BYTES);
    image.read(at, bytes);
    return Buffer.from(bytes).toString("base64");
  });
}

async function allTogether(seed: number, mounted: Mounted, workload: Workload): Promise<void> {
  await settle(mounted);
  await unmount(mounted);
  await togetherAgain(seed, mounted, workload);
}

/** Random work, killed and taken over in between; what was completed must all be there each time. */
async function workAndKill(
  life: Life,
  first: Mounted,
  workload: Workload,
  random: SeededRandom,
  before: (now: Mounted) => void,
): Promise<Mounted> {
  let mounted = first;
  for (let kill = 0; kill < KILLS; kill++) {
    before(mounted);
    for (let left = 1 + random.below(20); left > 0; left--) {
      await workload.run(mounted.fs, 1);
      if (random.below(4) === 0) await mounted.fs.sync();
    }
    mounted = await life.takeOver(mounted);
    expect((await describeFileSystem(mounted.fs)).join("\n"), `after kill ${kill}`).toBe(await workload.tree());
  }
  return mounted;
}

describe("a process killed", () => {
  for (let seed = 1; seed <= 5; seed++) {
    it(`while a copy fails loses nothing it completed (I1, I4, seed ${seed})`, async () => {
      const random = new SeededRandom(seed);
      const workload = new Workload(seed, 300_000);
      const life = new Life(seed);
      const mounted = await life.begin(await formatted(seed, SIZES));
      await workload.begin(mounted.fs);
      const last = await workAndKill(life, mounted, workload, random, ({ devices }) => {
        const operation = random.below(2) === 0 ? "write" : "flush";
        const nth = 1 + random.below(operation === "write" ? 12 : 4);
        devices[seed % SIZES.length]?.fail({ operation, nth, permanent: true, effect: { kind: "error", code: "EIO" } });
      });
      await allTogether(seed, last, workload);
    });

    it(`while a copy is caught up loses nothing it completed, and the next goes on (I4, I8, seed ${seed})`, async () => {
      const away = seed % SIZES.length;
      const workload = new Workload(seed, 300_000);
      let mounted = await mount(seed, await formatted(seed, SIZES));
      await workload.begin(mounted.fs);
      await workload.run(mounted.fs, 10);
      await unmount(mounted);
      const together = imagesOf(mounted.devices);
      const lone = together.map((image, copy) => (copy === away ? undefined : image));
      mounted = await mount(seed, lone, { degraded: true });
      await workload.run(mounted.fs, 40);
      await unmount(mounted);
      const apart = imagesOf(mounted.devices).map((image, copy) => image ?? together[copy]);
      const life = new Life(seed);
      const random = new SeededRandom(seed);
      const last = await workAndKill(life, await life.begin(apart), workload, random, () => undefined);
      await allTogether(seed, last, workload);
    });
  }

  it.each([
    ["taken out", async ({ volume }: Mounted) => volume.changeMembers(() => volume.members.takeOut(1, false))],
    ["detached", async ({ volume }: Mounted) => beginDetach(volume, 1)],
  ])(
    "has all that was written while a copy was being %s, which no root says: on that copy, too (I1, I8)",
    async (_, leave) => {
      const life = new Life(41);
      const mounted = await life.begin(await formatted(41, SIZES.slice(0, 2)));
      const workload = new Workload(41, 300_000);
      await workload.begin(mounted.fs);
      await mounted.volume.forceCommit();
      let flushed = (): void => undefined;
      const until = new Promise<void>((resolve) => (flushed = resolve));
      mounted.devices[0]!.fail({ operation: "flush", nth: 1, effect: { kind: "late", until } });
      const left = leave(mounted).catch(() => undefined);
      await new Promise(setImmediate);
      expect(mounted.volume.members.inSync).toBe(1);
      for (const step of [
        { do: "create", at: ["file"] },
        { do: "write", at: ["file"], offset: 0, length: 200_000, fill: 3 },
      ] as const) {
        for (const each of [mounted.fs, workload.model]) expect(await runStep(each, step)).toBe("ok");
      }
      const taken = life.takeOver(mounted);
      flushed();
      const next = await taken;
      await left;
      expect(next.volume.members.inSync).toBe(3);
      await allTogether(41, next, workload);
    },
  );

  it.each([true, false])(
    "goes on without a copy that was taken out, and written to elsewhere since (I6, lasting: %s)",
    async (lasting) => {
      const life = new Life(31);
      const mounted = await life.begin(await formatted(31, SIZES));
      const workload = new Workload(31, 300_000);
      await workload.begin(mounted.fs);
      await workload.run(mounted.fs, 10);
      await takeOut(mounted.volume, mounted.caretaker, 1, { lasting });
      const there = [undefined, mounted.devices[1]!.image.copy()];
      const elsewhere = await mount(77, there, { degraded: true }, 31);
      // There are more roots there by then than there will be here.
      for (let commits = 0; commits < 30; commits++) await elsewhere.volume.forceCommit();
      await unmount(elsewhere);
      await workload.run(mounted.fs, 5);
      const next = await life.takeOver(mounted, [undefined, imagesOf(elsewhere.devices)[1]]);
      await settle(next);
      expect(next.copies.copies.map(({ standing }) => standing)).toEqual([
        "in-sync",
        lasting ? "offline" : "divergent",
        "in-sync",
      ]);
      expect((await describeFileSystem(next.fs)).join("\n")).toBe(await workload.tree());
      await unmount(next);
    },
  );

  /**
   * Copy 1 is taken out, both sides make that many commits of their own, and the process dies; what it left, and what there is elsewhere.
   */
  async function apart(ours: number, theirs: number) {
    const life = new Life(33);
    const mounted = await life.begin(await formatted(33, SIZES.slice(0, 2)));
    const workload = new Workload(33, 300_000);
    await workload.begin(mounted.fs);
    await workload.run(mounted.fs, 5);
    await takeOut(mounted.volume, mounted.caretaker, 1, { lasting: false });
    const there = [undefined, mounted.devices[1]!.image.copy()];
    const elsewhere = await mount(79, there, { degraded: true }, 33);
    for (let commits = 0; commits < theirs; commits++) await elsewhere.volume.forceCommit();
    await unmount(elsewhere);
    for (let commits = 0; commits < ours; commits++) await mounted.volume.forceCommit();
    await workload.run(mounted.fs, 3);
    return { life, mounted, workload, theirs: imagesOf(elsewhere.devices)[1]! };
  }

  const counts = [0, 1, 2, 3, 4, 5, 6];
  it.each(counts)(
    "never goes on from somebody else's root, be its number that of its own (I4, I6, %d commits here)",
    async (ours) => {
      for (const theirs of counts) {
        const { life, mounted, workload, theirs: foreign } = await apart(ours, theirs);
        const [own, before] = [mounted.devices[0]!.image.copy(), rootsOf(foreign)];
        // Its own copy is not there: everything waits for whoever has it.
        await expect(life.takeOver(mounted, [null, foreign])).rejects.toThrow(/does not go on from root/);
        expect(rootsOf(foreign), `${theirs} there`).toEqual(before);
        const next = await life.takeOver(mounted, [own, foreign]);
        await settle(next);
        expect(
          next.copies.copies.map(({ standing }) => standing),
          `${theirs} there`,
        ).toEqual(["in-sync", "divergent"]);
        expect((await describeFileSystem(next.fs)).join("\n")).toBe(await workload.tree());
        await unmount(next);
      }
    },
  );

  it("writes nothing with fewer copies than the volume takes, whatever was said at the mount, and is whole when they are back (I2)", async () => {
    const life = new Life(35);
    const [, ...there] = await formatted(35, SIZES);
    const mounted = await life.begin([undefined, ...there], { degraded: true });
    const workload = new Workload(35, 300_000);
    await workload.begin(mounted.fs);
    await workload.run(mounted.fs, 10);
    expect([mounted.volume.members.inSync, mounted.volume.members.minCopies]).toEqual([0b110, 2]);
    const left = mounted.devices.map((device) => device?.image.copy());
    const alone = await life.takeOver(mounted, [null, null, left[2]]);
    expect(alone.volume.readOnly).toMatch(/1 of the 2 copies needed/);
    expect((await describeFileSystem(alone.fs)).join("\n")).toBe(await workload.tree());
    await expect((async () => alone.volume.barrier())()).rejects.toThrow(/1 of the 2 copies needed/);
    await expect(alone.volume.close()).rejects.toThrow(/1 of the 2 copies needed/);
    const next = await life.takeOver(alone, left);
    expect([next.volume.readOnly, next.volume.members.inSync, next.volume.members.minCopies]).toEqual([
      undefined,
      0b110,
      2,
    ]);
    expect((await describeFileSystem(next.fs)).join("\n")).toBe(await workload.tree());
    await workload.run(next.fs, 5);
    await unmount(next);
  });

  it("only reads on without a copy that is away, or was written to elsewhere, and from its own root only (I6, I9)", async () => {
    const seed = 37;
    const writing = new Life(seed);
    const mounted = await writing.begin(await formatted(seed, SIZES.slice(0, 2)));
    const workload = new Workload(seed, 300_000);
    await workload.begin(mounted.fs);
    await workload.run(mounted.fs, 10);
    await mounted.fs.sync();
    // As a crash leaves them: the newest is in the log only.
    const images = mounted.devices.map((device) => device?.image.copy());
    await unmount(mounted);
    const elsewhere = await mount(79, [undefined, images[1]!.copy()], { degraded: true }, seed);
    await unmount(elsewhere);
    const foreign = imagesOf(elsewhere.devices)[1]!;
    const life = new Life(seed);
    let reading = await life.begin(images, { readOnly: true, start: false });
    for (const others of [[images[0], null], [images[0], foreign], images]) {
      reading = await life.takeOver(reading, others);
      expect((await describeFileSystem(reading.fs)).join("\n")).toBe(await workload.tree());
    }
    await expect(life.takeOver(reading, [null, foreign])).rejects.toThrow(/does not go on from root/);
  });
});
