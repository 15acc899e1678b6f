// Full volumes with copies=K: deleting always works (I10), and whatever room deletions took from the reserve, what was to lie on
// a copy that fails finds room on another one, so that the volume stays writable (I9).

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { MIB } from "../model/simulated-volume.ts";
import { runStep, type Step } from "../model/workload.ts";
import { findings, formattedNodes, imagesOf, mount, type Mounted, treeOf, unmount, Workload } from "./copies-scene.ts";
import { rightOrGone, setCopies } from "./narrow-scene.ts";

const WINDOW_BYTES = 65536;

/** A mount and a model that does what the mount did. */
class Scene {
  readonly work: Workload;
  readonly mounted: Mounted;

  constructor(seed: number, mounted: Mounted) {
    this.work = new Workload(seed, 1);
    this.mounted = mounted;
  }

  static async on(seed: number, sizesBytes: readonly number[]): Promise<Scene> {
    return new Scene(seed, await mount(seed, await formattedNodes(seed, sizesBytes), { cacheBytes: 64 * MIB }));
  }

  /** What the mount answers; the model does it too if that is "ok", and has to agree. */
  async do(step: Step): Promise<string> {
    const answer = await runStep(this.mounted.fs, step);
    if (answer !== "ENOSPC") expect(await runStep(this.work.model, step), JSON.stringify(step)).toBe(answer);
    return answer;
  }

  async ok(step: Step): Promise<void> {
    expect(await this.do(step), `${JSON.stringify(step)}\n${this.mounted.volume.readOnly}`).toBe("ok");
  }

  failAt(copy: number, nth: number): void {
    const effect = { kind: "error", code: "EIO" } as const;
    this.mounted.devices[copy]!.fail({ operation: "write", nth, permanent: true, effect });
  }
}

describe("a full volume with copies=K", () => {
  it("stays writable when the copy fails that was to hold data, after deletions took from the reserve", async () => {
    for (let nth = 1; nth < 5; nth++) {
      const seed = 2500 + nth;
      const scene = await Scene.on(seed, [40 * MIB, 18 * MIB]);
      await scene.ok({ do: "create", at: ["narrow"] });
      await setCopies(scene.mounted.fs, "narrow", 1);
      await scene.ok({ do: "create", at: ["all"] });
      let windows = 0;
      const fill = (): Step => ({
        do: "write",
        at: ["all"],
        offset: windows * WINDOW_BYTES,
        length: WINDOW_BYTES,
        fill: 1,
      });
      while ((await scene.do(fill())) === "ok") windows++;
      await scene.mounted.fs.sync();
      // Each leaves a part of its block, which is copied on both.
      for (let i = 0; i < 40; i++)
        await scene.ok({ do: "punch", at: ["all"], offset: i * WINDOW_BYTES, length: WINDOW_BYTES / 2 });
      await scene.do({ do: "write", at: ["narrow"], offset: 0, length: MIB, fill: 2 });
      scene.failAt(0, nth);
      for (let mode = 0; scene.mounted.copies.copy(0)!.standing === "in-sync"; mode++) {
        await scene.ok({ do: "chmod", at: ["narrow"], mode });
        await scene.mounted.volume.barrier();
      }
      expect(scene.mounted.volume.readOnly, `seed ${seed}`).toBeUndefined();
      await scene.ok({ do: "unlink", at: ["all"] });
      await unmount(scene.mounted);
      expect(await treeOf(seed, imagesOf(scene.mounted.devices))).toBe(await scene.work.tree());
    }
  });

  it("lets everything be deleted whichever copy fails at whatever write, and is never read-only", async () => {
    for (let seed = 2600; seed < 2600 + SEEDS; seed++) {
      await randomlyFull(seed).catch((error: unknown) => {
        throw new Error(`seed ${seed}`, { cause: error });
      });
    }
  });
});

const SEEDS = Number(process.env["SIM_SEEDS"] ?? 6);

async function randomlyFull(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const sizes = Array.from({ length: 2 + random.below(2) }, () => (18 + random.below(3) * random.below(12)) * MIB);
  const scene = await Scene.on(seed, sizes);
  const { fs, volume, copies, devices } = scene.mounted;
  const names: string[] = [];
  const some = (): string[] => [names[random.below(names.length)] as string];
  for (let i = 0; i < 12; i++) {
    const name = `f${i}`;
    await scene.ok({ do: "create", at: [name] });
    await setCopies(fs, name, random.below(3) === 0 ? "all" : 1 + random.below(sizes.length - 1));
    names.push(name);
  }
  const fill = async (): Promise<void> => {
    for (let misses = 0; misses < 6; ) {
      const blocks = 1 + random.below(16);
      const length = random.below(2) === 0 ? blocks * WINDOW_BYTES : 1 + random.below(20_000);
      const step = { do: "write", at: some(), offset: random.below(400) * WINDOW_BYTES, length, fill: 3 } as const;
      if ((await scene.do(step)) !== "ok") misses++;
    }
  };
  const thin = async (): Promise<void> => {
    for (let left = 60; left > 0; left--) {
      const offset = random.below(400 * WINDOW_BYTES);
      if (random.below(3) === 0) await scene.ok({ do: "truncate", at: some(), size: offset });
      else await scene.ok({ do: "punch", at: some(), offset, length: 1 + random.below(2 * WINDOW_BYTES) });
      if (random.below(3) !== 0) continue;
      await scene.do({ do: "write", at: some(), offset: random.below(400) * WINDOW_BYTES, length: 50_000, fill: 4 });
    }
  };
  await fill();
  await thin();
  await fill();
  const failing = random.below(sizes.length);
  scene.failAt(failing, 1 + random.below(30));
  await thin();
  await fill();
  for (const name of names) await scene.ok({ do: "unlink", at: [name] });
  await fs.settled();
  await unmount(scene.mounted);
  expect(volume.failed).toBe(false);
  const lost = copies.copy(failing)!.standing === "faulted";
  const images = imagesOf(devices).map((image, i) => (lost && i === failing ? undefined : image));
  expect(await rightOrGone(seed, images, await scene.work.tree())).toBe(0);
  const found = await findings(seed, images, { everyRoot: true });
  expect(found.filter(({ name }) => name !== "copy-absent")).toEqual([]);
}
