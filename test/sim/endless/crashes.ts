// Crash states by the million: every seed is a workload of its own, on two or three copies, all of them there, one failing,
// or one being caught up, with a second power cut during recovery in every other one. Stops after SIM_MINUTES, or at the first
// state that is not good. tools/sim.sh deals the seeds out to two processes. Only distinct states count.
// A program by itself, which is bundled: the test runner looks up every name of a module anew, which costs a quarter of the rate.

import { cutPower, recordLoss, recordReturn } from "../../crash/copy-crashes.ts";
import { type CrashOutcome, record, tryCrashes } from "../../crash/power-cut.ts";
import { MIB } from "../../model/simulated-volume.ts";

const minutes = Number(process.env["SIM_MINUTES"] ?? 1);
const firstSeed = Number(process.env["SIM_SEED"] ?? 1);
const SIZES = [18 * MIB, 24 * MIB, 20 * MIB];
const PROCESSES = 2;
const NIGHT_SECONDS = 8 * 3600;

async function run(seed: number): Promise<CrashOutcome> {
  const sizes = SIZES.slice(0, 2 + (seed % 2));
  const copy = seed % sizes.length;
  const twice = Math.floor(seed / 8) % 2 === 0;
  switch (seed % 8) {
    case 0:
    case 1: // In every other one with file data on one copy each.
      return cutPower(await recordLoss(seed, sizes, copy, seed % 8 === 1), 100, 24, twice);
    case 2:
    case 3: // The same.
      return cutPower(await recordReturn(seed, sizes, copy, seed % 8 === 3), 100, 24, twice);
    case 4:
      return tryCrashes(await record(seed, sizes, 150, 150_000), { every: 1, perCut: 100, recrash: twice });
    default:
      return tryCrashes(await record(seed, sizes, 100, 20_000), { every: 1, perCut: 100, recrash: twice });
  }
}

/** The seeds of process `part`; false when one failed. */
async function runSeeds(part: number): Promise<boolean> {
  const beganMs = performance.now();
  const beganCpu = process.cpuUsage();
  let states = 0;
  let opened = 0;
  let seeds = 0;
  for (let seed = firstSeed + part; performance.now() < beganMs + minutes * 60_000; seed += PROCESSES) {
    const outcome = await run(seed).catch((error: unknown) => ({
      states: 0,
      opened: 0,
      failures: [`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`],
    }));
    states += outcome.states;
    opened += outcome.opened;
    seeds++;
    for (const failure of outcome.failures) console.error(failure);
    if (outcome.failures.length > 0) {
      console.error(`failed: npm run sim -- --seed ${seed}`);
      return false;
    }
  }
  const { user, system } = process.cpuUsage(beganCpu);
  const perSecond = (states * 1000) / (performance.now() - beganMs);
  const perCpuSecond = (states * 1e6) / (user + system);
  const night = (rate: number): string => `${((rate * NIGHT_SECONDS * PROCESSES) / 1e6).toFixed(1)} million`;
  console.log(
    `part ${part + 1}: ${seeds} seeds, ${states} distinct crash states, ${opened} of them opened, ${perSecond.toFixed(0)} a second, ` +
      `${perCpuSecond.toFixed(0)} a second of CPU time; ${PROCESSES} such processes make ${night(perSecond)} ` +
      `in 8 hours at this pace, ${night(perCpuSecond)} with a core each`,
  );
  return true;
}

const part = Number(process.argv[2] ?? 0);
console.log(`crash states for ${minutes} minutes from seed ${firstSeed}, part ${part + 1} of ${PROCESSES}`);
if (!(await runSeeds(part))) process.exitCode = 1;
