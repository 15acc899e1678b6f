// Random changes to sound images, check codes made right again: the checker, repair, mount and every read end within
// bounded time and with typed errors only; what fsck calls repaired is sound.

import { expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { memoryCopies, memoryDevices } from "../../fixtures/corrupt/memory-copies.ts";
import { mutate } from "../../fixtures/corrupt/mutate.ts";
import { isClean } from "../../fsck/finding-list.ts";
import { checkVolume } from "../../fsck/check.ts";
import { fsckVolume } from "../../fsck/fsck.ts";
import { mountAndChange, mountAndRead } from "../model/mount-damaged.ts";

const SEEDS = Number(process.env["H2TS_FUZZ_SEEDS"] ?? 400);
const FIRST_SEED = Number(process.env["H2TS_FUZZ_FIRST"] ?? 1);
const good = buildGoodImage();
const clock = new SimulatedClock();

async function tryOne(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const spoiled = mutate(good, random, 1 + random.below(3));
  const found = await checkVolume(memoryCopies(spoiled));
  await mountAndRead(spoiled, clock);
  const devices = memoryDevices(spoiled);
  const outcome = await fsckVolume(
    { copies: memoryCopies(spoiled, false), devices },
    { force: true, clock, repair: "full" },
  );
  const left = await checkVolume(memoryCopies(spoiled));
  const messages = left.map(({ message }) => message);
  expect(isClean(left), messages.join("\n")).toBe((outcome.exitCode & 4) === 0);
  if (isClean(found)) expect(isClean(left), messages.join("\n")).toBe(true);
  await mountAndRead(spoiled, clock);
  await mountAndChange(spoiled, clock);
}

const BATCH = 50;
for (let first = FIRST_SEED; first < FIRST_SEED + SEEDS; first += BATCH) {
  test(`seeds ${first} to ${first + BATCH - 1}`, async () => {
    for (let seed = first; seed < first + BATCH; seed++) {
      const before = process.cpuUsage();
      try {
        await tryOne(seed);
      } catch (error) {
        throw new Error(`seed ${seed}: ${error instanceof Error ? error.stack : String(error)}`, { cause: error });
      }
      // Of this process, whatever else the machine does.
      expect(process.cpuUsage(before).user / 1000, `seed ${seed} took too long`).toBeLessThan(20_000);
    }
  });
}
