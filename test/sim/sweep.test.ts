// The sweep of the live tree in steps: every ref is met, and once only while nothing changes; what is there all along is met
// however the tree changes between steps; one resumed from an inode's number meets all from there on.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { refKey, RefType, refType } from "../../src/format/blockref.ts";
import type { Volume } from "../../src/volume/volume.ts";
import { holdsRefs } from "../../src/tree/runs.ts";
import { blockRefs, LiveNode } from "../../src/walk/live.ts";
import { blockKey, namedBlock } from "../../src/walk/named-block.ts";
import { inodePlace, type Place, placeInode, Sweep } from "../../src/walk/sweep.ts";
import { runStep } from "../model/workload.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";

const FILES = 700;

/** A tree of several levels: many inodes, a large directory, a file of many small blocks. */
async function forest(seed: number): Promise<SimulatedVolume> {
  const made = await SimulatedVolume.format(seed, [64 * MIB, 48 * MIB]);
  const { fs } = made;
  for (let i = 0; i < FILES; i++) {
    await runStep(fs, { do: "create", at: [`file-${i}-${"n".repeat(i % 100)}`] });
    if (i % 7 === 0)
      await runStep(fs, { do: "write", at: [`file-${i}-${"n".repeat(i % 100)}`], offset: 0, length: 5000, fill: i });
  }
  await runStep(fs, { do: "create", at: ["holes"] });
  for (let i = 0; i < 600; i++) {
    await runStep(fs, { do: "write", at: ["holes"], offset: i * 65536, length: 1024, fill: i });
  }
  await made.volume.forceCommit();
  return made;
}

/** All blocks of the live tree, found without the sweep. */
function everyBlock(volume: Volume): Promise<string[]> {
  return volume.untilLoaded(() => {
    const keys: string[] = [];
    const below = (node: LiveNode): void => {
      for (const at of blockRefs(node.block)) {
        keys.push(blockKey(namedBlock(node.block, at)));
        if (holdsRefs(refType(node.block.view, at))) below(node.child(at));
      }
    };
    below(new LiveNode(volume.store, volume.rootImage));
    return keys;
  });
}

/** Sweeps from `from` on; `between` runs after each step. */
async function sweep(
  volume: Volume,
  random: SeededRandom,
  from: Place,
  between: (next: Place) => Promise<void> = () => Promise.resolve(),
): Promise<{ keys: string[]; inodes: number[]; steps: number }> {
  const walk = new Sweep(volume.store, volume.rootImage);
  const keys: string[] = [];
  const inodes: number[] = [];
  let steps = 0;
  for (let place: Place | undefined = from; place !== undefined; steps++) {
    const start: Place = place;
    const budget = 1 + random.below(60);
    const met = await volume.view(() => {
      const found: { key: string; ino: number }[] = [];
      const next = walk.step(start, budget, ({ block }, at) => {
        const ino = refType(block.view, at) === RefType.INODE ? refKey(block.view, at) : 0;
        found.push({ key: blockKey(namedBlock(block, at)), ino });
        return 1;
      });
      return { found, next };
    });
    expect(met.found.length).toBeLessThanOrEqual(budget);
    for (const { key, ino } of met.found) {
      keys.push(key);
      if (ino !== 0) inodes.push(ino);
    }
    place = met.next;
    if (place !== undefined) await between(place);
  }
  return { keys, inodes, steps };
}

describe("a sweep", () => {
  it("meets every block once, in as many steps as it takes", async () => {
    for (const seed of [1, 2, 3]) {
      const { volume } = await forest(seed);
      const all = await everyBlock(volume);
      const { keys, inodes, steps } = await sweep(volume, new SeededRandom(seed), []);
      expect(steps, `seed ${seed}`).toBeGreaterThan(30);
      expect(new Set(keys).size).toBe(keys.length);
      expect([...keys].sort()).toEqual([...all].sort());
      expect(inodes).toEqual([...inodes].sort((a, b) => a - b));
      expect(inodes.length).toBe(FILES + 2);
    }
  });

  it("meets all that is there all along while the tree changes between its steps", async () => {
    for (const seed of [4, 5, 6]) {
      const { volume, fs } = await forest(seed);
      const random = new SeededRandom(seed);
      const before = new Set(await everyBlock(volume));
      const { keys } = await sweep(volume, random, [], async () => {
        const i = random.below(FILES);
        const at = [`file-${i}-${"n".repeat(i % 100)}`];
        if (random.below(2) === 0) await runStep(fs, { do: "unlink", at });
        else await runStep(fs, { do: "create", at: [`new-${i}`] });
        await runStep(fs, { do: "write", at: ["holes"], offset: random.below(600) * 65536, length: 2000, fill: i });
        if (random.below(4) === 0) await volume.forceCommit();
      });
      const met = new Set(keys);
      const missed = (await everyBlock(volume)).filter((key) => before.has(key) && !met.has(key));
      expect(missed, `seed ${seed}`).toEqual([]);
    }
  });

  it("resumed at an inode meets all from there on", async () => {
    const seed = 7;
    const { volume } = await forest(seed);
    const all = await sweep(volume, new SeededRandom(seed), []);
    for (const ino of [2, 3, 250, 640]) {
      const rest = await sweep(volume, new SeededRandom(ino), inodePlace(ino));
      const index = all.inodes.indexOf(ino);
      expect(rest.inodes, `inode ${ino}`).toEqual(all.inodes.slice(index));
      const met = new Set(rest.keys);
      const tail = all.keys.slice(all.keys.indexOf(rest.keys[0] as string));
      expect(tail.filter((key) => !met.has(key))).toEqual([]);
    }
    expect(placeInode(inodePlace(640))).toBe(640);
    expect(placeInode([])).toBe(0);
  });
});
