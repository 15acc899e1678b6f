// Three copies of unequal size, on an image file, a loop device and a row of two nodes, lose and regain each of them in turn,
// again and again, by all means and at random moments, while real programs work on the mount. No program sees an error;
// in the end the volume is in sync, the checker finds nothing, and each copy alone holds everything (I1, I2, I5–I9).
// H2TS_ROTATION_SECONDS makes it last longer, H2TS_ROTATION_SEED repeats what happens in which order.

import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Random, SeededRandom } from "../../src/base/random.ts";
import { type BusyProgram, busyPrograms } from "./busy-programs.ts";
import { mountsImpossible } from "./cli-place.ts";
import { type Loss, Losses, type Part } from "./copies-losses.ts";
import { CopiesPlace } from "./copies-place.ts";
import { describeTree, expectSameTree } from "./data-programs.ts";

const SECONDS = Number(process.env["H2TS_ROTATION_SECONDS"] ?? 25);
const SEED = Number(process.env["H2TS_ROTATION_SEED"] ?? Date.now() % 1_000_000);
const MIB = 1 << 20;
const PAUSE_MS_MAX = 800;

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

interface Scene {
  readonly parts: readonly Part[];
  readonly losses: Losses;
  readonly all: readonly Loss[];
}

function image(path: string, mib: number): string {
  writeFileSync(path, "");
  truncateSync(path, mib * MIB);
  return path;
}

/** Formats the copies and lists every way there is to lose one. Without loop devices the second is an image, too. */
async function scene(random: Random): Promise<Scene> {
  const small = await place.tmpfs("small", "132M");
  const other = await place.tmpfs("other", "116M");
  const file = image(join(other, "b.img"), 104);
  const [first, second] = [image(place.path("c1.img"), 56), image(place.path("c2.img"), 80)];
  const loop = place.loop(file);
  const a = { index: 0, target: image(join(small, "a.img"), 120) };
  const b = { index: 1, target: loop ?? file };
  const c = { index: 2, target: `${first}+${second}` };
  const parts = [a, b, c];
  const targets = parts.map(({ target }) => target);
  expect((await place.run("mkfs.h2ts", "-q", "-f", "-L", "rotation", ...targets)).err).toBe("");
  const losses = new Losses(place);
  const seed = (): number => random.below(1_000_000);
  const all = [
    // The first: later on, all places of its image have room under them.
    losses.full(b, other),
    losses.offline(a),
    losses.cut(a, a.target),
    losses.detached(a),
    losses.suspend(b),
    ...(loop === undefined ? [] : [losses.moved(b, file)]),
    losses.offline(c),
    losses.cut(c, second),
    losses.spoilt(c, first, seed),
  ];
  return { parts, losses, all };
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
async function rotate(loss: Loss, losses: Losses, random: Random): Promise<void> {
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

function check(programs: readonly BusyProgram[]): void {
  for (const program of programs) program.check();
}

describe.skipIf(mountsImpossible() !== undefined)("three copies under work", () => {
  it("lose and regain each in turn, and no program notices", { timeout: (SECONDS + 300) * 1000 }, async () => {
    console.log(`H2TS_ROTATION_SEED=${SEED}`);
    const random = new SeededRandom(SEED);
    const { parts, losses, all } = await scene(random);
    await place.h2ts("mount", "-o", "commit=1", ...parts.map(({ target }) => target), place.mnt);
    const programs = busyPrograms(place.mnt, place.folder, random);
    for (const program of programs) program.start();
    const untilMs = performance.now() + SECONDS * 1000;
    const told: string[] = [];
    for (let turn = 0; turn === 0 || performance.now() < untilMs; turn++) {
      for (const loss of inTurn(all, random)) {
        if (turn > 0 && performance.now() >= untilMs) break;
        await sleep(random.below(PAUSE_MS_MAX));
        check(programs);
        told.push(`${loss.part.index} ${loss.name}`);
        const story = `seed ${SEED}: ${told.join(", ")}`;
        await rotate(loss, losses, random).catch((error: unknown) => {
          throw new Error(story, { cause: error });
        });
      }
    }
    for (const program of programs) await program.stop();
    console.log(`${told.join(", ")}; ${programs.map(({ name, rounds }) => `${name} ${rounds}`).join(", ")} rounds`);
    expect(losses.fullDrops).toBeGreaterThan(0);
    await inSyncAndWhole(parts);
  });
});

/** Unmounted, the checker finds nothing, and each copy alone holds what the mount held. */
async function inSyncAndWhole(parts: readonly Part[]): Promise<void> {
  const { state, dataErrors } = await place.status();
  expect({ state, dataErrors }).toEqual({ state: "ONLINE", dataErrors: 0 });
  const kept = describeTree(place.mnt);
  expect(kept.size).toBeGreaterThan(100);
  await place.h2ts("umount", place.mnt);
  const targets = parts.map(({ target }) => target);
  await place.succeeds("fsck.h2ts", "-n", "-f", ...targets);
  const alone = place.mountPoint("alone");
  for (const target of targets) {
    expect(await place.succeeds("h2ts", "mount", "-o", "ro,degraded", target, alone)).toMatchObject({ out: "" });
    expectSameTree(describeTree(alone), kept);
    await place.h2ts("umount", alone);
  }
}
