// Trap 8: what any root, any log or a record in one names is never free to anybody else. Looked at after every commit and
// every sync of random work, on the media as they are: the bitmaps of all roots by the checker, the log by claiming all that it
// names in the newest one and reading everything after its replay (I3). Bugs put in on purpose show that looking helps.

import { afterEach, describe, expect, it, vi } from "vitest";
import { checkVolume } from "../../fsck/check.ts";
import { SeededRandom } from "../../src/base/random.ts";
import { Freemap } from "../../src/freemap/freemap.ts";
import { Leaf } from "../../src/freemap/leaf.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { freeLoggedAtOnce } from "../model/planted-bugs.ts";
import { randomStep, runStep } from "../model/workload.ts";

const SIZES = [16 * MIB, 18 * MIB];
const STEPS = 30;
const WINDOW_BYTES = 65536;

afterEach(() => vi.restoreAllMocks());

/** Throws when anything on media is both named and free; needs nothing of the volume in use but its devices. */
async function checkMedia(real: SimulatedVolume): Promise<void> {
  const media = real.atRest();
  const found = await checkVolume(media.copies, { everyRoot: true });
  const bad = found.filter(({ severity }) => severity !== "note");
  if (bad.length > 0) throw new Error(bad.map(({ message }) => message).join("; "));
  const shown = await media.reopened({ readOnly: true });
  await describeFileSystem(shown.fs);
}

/** Random work with whole windows written over and over; looked at whenever something became durable. */
async function work(seed: number): Promise<void> {
  const random = new SeededRandom(seed);
  const real = await (await SimulatedVolume.format(seed, SIZES)).remount();
  for (const name of ["a", "b"]) await runStep(real.fs, { do: "mkdir", at: [name] });
  for (const name of ["x", "y"]) await runStep(real.fs, { do: "create", at: ["a", name] });
  for (let i = 0; i < STEPS; i++) {
    const [offset, at] = [random.below(3) * WINDOW_BYTES, ["a", random.below(2) === 0 ? "x" : "y"]];
    if (random.below(2) === 0) await runStep(real.fs, randomStep(random, 100_000));
    else await runStep(real.fs, { do: "write", at, offset, length: 2 * WINDOW_BYTES, fill: random.below(256) });
    const what = random.below(4);
    if (what === 0) await real.volume.forceCommit();
    else if (what === 1) await real.fs.sync();
    else continue;
    await checkMedia(real);
  }
}

/** Allocates from the beginning each time, so that what is free by mistake is taken again at once. */
function allocateFromTheBeginning(): void {
  const find = Leaf.prototype.find;
  vi.spyOn(Leaf.prototype, "find").mockImplementation(function (this: Leaf, sizeKib, _from, sparing) {
    return find.call(this, sizeKib, 0, sparing);
  });
}

describe("after every commit and every sync", () => {
  for (let seed = 1; seed <= 2; seed++) {
    it(`nothing is both free and named by a root or a log (trap 8, I3, seed ${seed})`, async () => {
      allocateFromTheBeginning();
      await work(seed);
    });
  }
});

function freeTooEarly(): void {
  const rootDurable = Freemap.prototype.rootDurable;
  vi.spyOn(Freemap.prototype, "rootDurable").mockImplementation(function (this: Freemap, oldestTid: number) {
    rootDurable.call(this, oldestTid + 2);
  });
}

function clearAnotherPlace(): void {
  const freeLater = Freemap.prototype.freeLater;
  vi.spyOn(Freemap.prototype, "freeLater").mockImplementation(function (this: Freemap, kib: number, sizeKib: number) {
    freeLater.call(this, kib, sizeKib);
    const leaf = this.leaf(0);
    if (sizeKib === 64 && leaf.isUsed(kib + sizeKib, sizeKib)) leaf.clear(kib + sizeKib, sizeKib);
  });
}

/** Each with what is to be said of it. */
const BUGS: readonly [bug: string, plant: () => void, message: RegExp][] = [
  [
    "what was freed is given out while older roots name it",
    freeTooEarly,
    /^root \d+: .*no copy holds this block as its parent remembers it/,
  ],
  [
    "blocks that a record in the log names are free at once",
    freeLoggedAtOnce,
    /^copy \d: the log names KiB \d+, which is in use/,
  ],
  [
    "another place than that freed is cleared in the bitmap",
    clearAnotherPlace,
    /^freemap of copy \d: 64 KiB marked as free that are in use/,
  ],
];

describe("a seeded bug is seen by that (trap 8)", () => {
  it.each(BUGS)("%s", async (_, plant, message) => {
    allocateFromTheBeginning();
    plant();
    await expect(
      (async () => {
        for (let seed = 1; seed <= 4; seed++) await work(seed);
      })(),
    ).rejects.toThrow(message);
  });
});
