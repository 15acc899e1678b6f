// The whole filesystem on simulated copies against a plain model in memory: the same random steps, with remounts between,
// leave the same tree, and the checker finds nothing. Every failure prints its seed.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { checkVolume } from "../../fsck/check.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { randomStep, runStep } from "../model/workload.ts";
import { MemoryFileSystem } from "../mount/memory-filesystem.ts";

async function run(seed: number, steps: number, maxBytes: number): Promise<void> {
  const random = new SeededRandom(seed);
  let real = await SimulatedVolume.format(seed, [24 * MIB, 32 * MIB]);
  const model = new MemoryFileSystem(real.clock);
  for (let i = 0; i < steps; i++) {
    const step = randomStep(random, maxBytes);
    const [got, wanted] = [await runStep(real.fs, step), await runStep(model, step)];
    if (got !== wanted)
      throw new Error(`seed ${seed}, step ${i} ${JSON.stringify(step)}: ${got}, the model says ${wanted}`);
    if (random.below(60) === 0) real = await real.remount(random.below(2) === 0 ? 8 * MIB : 16 * MIB);
    if (i % 50 === 49)
      expect(await describeFileSystem(real.fs), `seed ${seed}, step ${i}`).toEqual(await describeFileSystem(model));
  }
  real = await real.remount();
  expect(await describeFileSystem(real.fs), `seed ${seed}`).toEqual(await describeFileSystem(model));
  await real.volume.close();
  const findings = await checkVolume(real.copies, { everyRoot: true });
  expect(
    findings.filter((finding) => finding.severity !== "note"),
    `seed ${seed}`,
  ).toEqual([]);
}

describe("a volume and its model", () => {
  for (let seed = 1; seed <= 12; seed++) {
    it(`agree after 400 random steps, remounts included (seed ${seed})`, async () => run(seed, 400, 300_000));
  }
});
