// Three copies of unequal size, on an image file, a loop device and a row of two nodes, lose and regain each of them in turn,
// again and again, by all means and at random moments, while real programs work on the mount. No program sees an error;
// in the end the volume is in sync, the checker finds nothing, and each copy alone holds everything (I1, I2, I5–I9).
// H2TS_ROTATION_SECONDS makes it last longer, H2TS_ROTATION_SEED repeats what happens in which order.

import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Random, SeededRandom } from "../../src/base/random.ts";
import { mountsImpossible } from "./cli-place.ts";
import { type Loss, Losses, type Part } from "./copies-losses.ts";
import { CopiesPlace } from "./copies-place.ts";
import { rotateUnderWork } from "./rotation.ts";

const SECONDS = Number(process.env["H2TS_ROTATION_SECONDS"] ?? 25);
const SEED = Number(process.env["H2TS_ROTATION_SEED"] ?? Date.now() % 1_000_000);
const MIB = 1 << 20;

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

describe.skipIf(mountsImpossible() !== undefined)("three copies under work", () => {
  it("lose and regain each in turn, and no program notices", { timeout: (SECONDS + 300) * 1000 }, async () => {
    console.log(`H2TS_ROTATION_SEED=${SEED}`);
    const random = new SeededRandom(SEED);
    const { parts, losses, all } = await scene(random);
    await place.h2ts("mount", "-o", "commit=1", ...parts.map(({ target }) => target), place.mnt);
    await rotateUnderWork({ place, losses, all, random, seed: SEED, seconds: SECONDS });
    expect(losses.fullDrops).toBeGreaterThan(0);
    await place.inSyncAndWhole(parts.map(({ target }) => target));
  });
});
