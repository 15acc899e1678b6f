// Crash states by the thousand: every seed is a workload of its own, on two or three copies, all of them there, one failing
// (in every other case with file data on one copy each), or one being caught up, with a second power cut during recovery in
// every other one. Stops after SIM_MINUTES.

import { expect, it } from "vitest";
import { cutPower, recordLoss, recordReturn } from "../../crash/copy-crashes.ts";
import { record, tryCrashes } from "../../crash/power-cut.ts";
import { MIB } from "../../model/simulated-volume.ts";

const minutes = Number(process.env["SIM_MINUTES"] ?? 1);
const firstSeed = Number(process.env["SIM_SEED"] ?? 1);
const SIZES = [18 * MIB, 24 * MIB, 20 * MIB];
const CUTS = 100;

async function run(seed: number): Promise<{ states: number; failures: readonly string[] }> {
  const sizes = SIZES.slice(0, 2 + (seed % 2));
  const copy = seed % sizes.length;
  switch (seed % 3) {
    case 0:
      return tryCrashes(await record(seed, sizes, 60, 120_000), { every: 1, perCut: 4, recrash: seed % 4 === 0 });
    case 1:
      return {
        states: CUTS,
        failures: await cutPower(await recordLoss(seed, sizes, copy, seed % 6 === 4), CUTS, seed % 4 < 2),
      };
    default:
      return { states: CUTS, failures: await cutPower(await recordReturn(seed, sizes, copy), CUTS, seed % 4 < 2) };
  }
}

it(`crash states for ${minutes} minutes from seed ${firstSeed}`, async () => {
  const untilMs = performance.now() + minutes * 60_000;
  let states = 0;
  let seed = firstSeed;
  for (; performance.now() < untilMs; seed++) {
    const outcome = await run(seed).catch((error: unknown) => ({
      states: 0,
      failures: [`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`],
    }));
    states += outcome.states;
    for (const failure of outcome.failures) console.error(failure);
    expect(outcome.failures, `npm run sim -- --seed ${seed}`).toEqual([]);
  }
  const perHour = Math.round((states / minutes) * 60);
  console.log(`${seed - firstSeed} seeds, ${states} crash states, ${perHour} an hour on one core`);
});
