// Copies are lost and regained one after another, again and again, at random moments while real programs work on the mount. No
// program sees an error. What the copies are, and in which ways they are lost, the test says.

import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import type { Random } from "../../src/base/random.ts";
import { busyPrograms } from "./busy-programs.ts";
import type { Loss, Losses } from "./copies-losses.ts";
import type { CopiesPlace } from "./copies-place.ts";

const PAUSE_MS_MAX = 800;

export interface Rotation {
  readonly place: CopiesPlace;
  readonly losses: Losses;
  /** Every way there is to lose a copy; the first is tried first. */
  readonly all: readonly Loss[];
  readonly random: Random;
  /** In front of what goes wrong. */
  readonly seed: number;
  /** Every way is tried once, however long that takes, and then on until so much time has passed. */
  readonly seconds: number;
}

/** A random order, but for the first, in which the copies take turns. */
function inTurn(all: readonly Loss[], random: Random): Loss[] {
  const [first, ...left] = all as readonly [Loss, ...Loss[]];
  const order = [first];
  while (left.length > 0) {
    const others = left.filter(({ part }) => part !== order.at(-1)?.part);
    const [next] = others.length > 0 ? others.slice(random.below(others.length)) : left;
    order.push(...left.splice(left.indexOf(next as Loss), 1));
  }
  return order;
}

/** One copy is lost and regained; every third time it is taken away once more before it is caught up. */
async function rotate(loss: Loss, { place, losses, random }: Rotation): Promise<void> {
  await loss.lose();
  await sleep(random.below(PAUSE_MS_MAX));
  await loss.regain();
  if (random.below(3) === 0) {
    const again = losses.offline(loss.part);
    await sleep(random.below(PAUSE_MS_MAX / 4));
    await again.lose();
    await again.regain();
  }
  await place.h2ts("wait", place.mnt);
  expect(await place.states(), loss.name).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
}

/** Resolves when every copy was lost in every way, all are in sync again, and the programs have ended well. */
export async function rotateUnderWork(rotation: Rotation): Promise<void> {
  const { place, all, random, seed, seconds } = rotation;
  const programs = busyPrograms(place.mnt, place.folder, random);
  for (const program of programs) program.start();
  const untilMs = performance.now() + seconds * 1000;
  const told: string[] = [];
  for (let turn = 0; turn === 0 || performance.now() < untilMs; turn++) {
    for (const loss of inTurn(all, random)) {
      if (turn > 0 && performance.now() >= untilMs) break;
      await sleep(random.below(PAUSE_MS_MAX));
      for (const program of programs) program.check();
      const startedMs = performance.now();
      await rotate(loss, rotation).catch((error: unknown) => {
        throw new Error(`seed ${seed}: ${[...told, loss.name].join(", ")}`, { cause: error });
      });
      told.push(`${loss.part.index} ${loss.name} (${Math.round(performance.now() - startedMs)} ms)`);
    }
  }
  await Promise.all(programs.map((program) => program.stop()));
  console.log(`${told.join(", ")}; ${programs.map(({ name, rounds }) => `${name} ${rounds}`).join(", ")} rounds`);
}
