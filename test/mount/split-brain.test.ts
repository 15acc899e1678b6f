// Split brain on real mounts (I6): two copies that were each written alone are refused together and shown side by side; either
// can be looked at; the operator gives one up, and the other's history is brought to it.

import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { HistoriesReport } from "../../src/cli/histories.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, Work } from "./copies-place.ts";

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

/** Mounts one target by itself, has work done there, and unmounts. */
async function workAlone(target: string, work: Work, steps: number): Promise<void> {
  expect(await place.succeeds("h2ts", "mount", "-o", "degraded", target, place.mnt)).toMatchObject({ out: "" });
  await work.run(steps);
  await place.h2ts("umount", place.mnt);
}

async function parted(): Promise<HistoriesReport["parted"]> {
  const shown = await place.run("h2ts", "resolve", "-j", place.path("a.img"), place.path("b.img"));
  expect(shown).toMatchObject({ code: 0, err: "" });
  return (JSON.parse(shown.out) as HistoriesReport).parted;
}

async function refused(words: readonly string[], code: number, message: RegExp): Promise<void> {
  const images = ["a.img", "b.img"].map((name) => readFileSync(place.path(name)));
  const outcome = await place.run("h2ts", ...words);
  expect({ words, ...outcome }).toMatchObject({ code, out: "" });
  expect(outcome.err).toMatch(message);
  expect(outcome.err).toMatch(/^h2ts: [^\n]+\n$/);
  for (const [i, name] of ["a.img", "b.img"].entries())
    expect(images[i]?.equals(readFileSync(place.path(name)))).toBe(true);
}

describe.skipIf(mountsImpossible() !== undefined)("two copies written apart from each other", () => {
  it("are refused together, looked at one by one, and joined again by h2ts resolve", async () => {
    const [a, b] = [place.path("a.img"), place.path("b.img")];
    const both = [a, b];
    await place.format("64M", both);
    await place.h2ts("mount", a, b, place.mnt);
    const kept = new Work(place.mnt, 21);
    await kept.run(20);
    const live = await place.run("h2ts", "resolve", "--keep", "0", "--discard", "1", a, b);
    expect(live).toMatchObject({ code: 32, out: "" });
    expect(live.err).toMatch(/is mounted on [^\n]*unmount it first\n$/);
    await place.h2ts("umount", place.mnt);
    const given = kept.fork(22);

    await workAlone(a, kept, 15);
    // One went on and the other did not: it is only stale.
    expect(await parted()).toEqual([]);
    await refused(
      ["resolve", "--keep", "1", "--discard", "0", ...both],
      32,
      /one history; there is nothing to resolve/,
    );
    await workAlone(b, given, 15);

    await refused(
      ["mount", a, b, place.mnt],
      32,
      /copy [01]\): went another way than .*copy [01]\).*mount -o ro.*h2ts resolve/,
    );
    await refused(["mount", "-o", "degraded", a, b, place.mnt], 32, /went another way/);
    for (const [target, work] of [
      [a, kept],
      [b, given],
    ] as const) {
      expect(await place.succeeds("h2ts", "mount", "-o", "ro", target, place.mnt)).toMatchObject({ out: "" });
      await work.verify();
      await place.h2ts("umount", place.mnt);
    }

    expect(await parted()).toMatchObject([{ copies: [0, 1] }]);
    const text = (await place.run("h2ts", "resolve", a, b)).out;
    expect(text).toMatch(/^copy 0: .*a\.img\n +newest root \d+, complete\n +history +epoch \w+ up to root \d+/m);
    expect(text).toMatch(/^Copy 0 and copy 1 went different ways after root \d+ of epoch/m);
    expect(text).toContain(`h2ts resolve --keep 1 --discard 0 ${a} ${b}`);
    await refused(["resolve", "--keep", "0", ...both], 1, /give both/);
    await refused(["resolve", "--keep", "0", "--discard", "0", ...both], 1, /at once/);
    await refused(["resolve", "--keep", "0", "--discard", "7", ...both], 1, /is no copy/);

    await place.h2ts("resolve", "--keep", "0", "--discard", "1", ...both);
    await refused(["resolve", "--keep", "1", "--discard", "0", ...both], 32, /no complete state/);
    expect((await place.run("h2ts", "mount", a, b, place.mnt)).code).toBe(0);
    await kept.verify();
    await kept.run(5);
    await place.h2ts("wait", "-t", "resync", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.examine(kept, both);
  });

  it("with several copies on one of the images are given up one after the other", async () => {
    const [a, b] = place.images("a", "b");
    await place.succeeds("mkfs.h2ts", "-q", "-s", "64M", "-n", "2", a);
    await place.h2ts("mount", a, place.mnt);
    const given = new Work(place.mnt, 23);
    await given.run(8);
    await place.h2ts("attach", "-w", "-s", "32M", place.mnt, b);
    await place.h2ts("umount", place.mnt);
    const kept = given.fork(24);
    await workAlone(a, given, 5);
    await workAlone(b, kept, 5);

    const text = (await place.run("h2ts", "resolve", a, b)).out;
    expect(text).toMatch(/^Copy 0 and copy 2 went different ways after .*\nCopy 1 and copy 2 went different ways/m);
    await place.h2ts("resolve", "--keep", "2", "--discard", "0", a, b);
    expect((await parted()).map(({ copies }) => copies)).toEqual([[1, 2]]);
    await refused(["mount", a, b, place.mnt], 32, /went another way/);
    await place.h2ts("resolve", "--keep", "2", "--discard", "1", a, b);
    await place.succeeds("h2ts", "mount", a, b, place.mnt);
    await kept.verify();
    await place.h2ts("wait", "-t", "resync", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE", "ONLINE"]);
    await place.h2ts("umount", place.mnt);
    await place.succeeds("fsck.h2ts", "-n", "-f", a, b);
  });
});
