// A mount on more devices than fit into the socket over which a worker is handed them, and with more targets than the mount table has
// room for: no worker's end costs it anything (I4), and nobody else gets at its images meanwhile (I11).

import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { mountedVolumeAt } from "../../src/daemon/mount-table.ts";
import { mountsImpossible } from "./cli-place.ts";
import { CopiesPlace, isFree, killed, Work } from "./copies-place.ts";

const NODES = 150;

let place: CopiesPlace;
beforeEach(() => {
  place = new CopiesPlace();
});
afterEach(() => place.clear());

/** A row of image files with names so long that all of them together are more than a path may be. */
const row = (copy: string): string[] => Array.from({ length: NODES }, (_, i) => place.path(`${copy}-node-${i}.img`));

describe.skipIf(mountsImpossible() !== undefined)(`a mount on two rows of ${NODES} nodes`, () => {
  it("goes on when workers die, with a spare and without, and when one is replaced", async () => {
    const nodes = [row("a"), row("b")] as const;
    const targets = nodes.map((each) => each.join("+"));
    await place.format("320K", targets);
    await place.h2ts("mount", ...targets, place.mnt);
    const source = mountedVolumeAt(place.mnt)?.source ?? "";
    expect(source).toMatch(/…[0-9a-f]{16}$/);
    expect(source.startsWith(`${nodes[0][0]}+${nodes[0][1]}+`)).toBe(true);
    const work = new Work(place.mnt, 61);
    await work.run(5);
    await expect.poll(async () => (await place.daemon()).sparePid, { timeout: 20_000 }).toBeGreaterThan(0);
    for (let kills = 1; kills <= 2; kills++) {
      await killed((await place.daemon()).workerPid);
      await work.run(2);
      expect(await place.daemon()).toMatchObject({ restarts: kills });
      for (const image of [nodes[0][0], nodes[1].at(-1)] as string[]) expect(await isFree(image)).toBe(false);
    }
    await place.h2ts("upgrade", place.mnt);
    expect(await place.states()).toEqual(["ONLINE", "ONLINE"]);
    await work.verify();
    await place.h2ts("umount", place.mnt);
    for (const image of nodes.flat()) expect(await isFree(image)).toBe(true);
    await place.examine(work, targets);
  }, 120_000);
});
