// What a copy alone has in its log counts, too: when every other copy dies while it is caught up, it is selected as master with all
// that was acknowledged while it was in sync (I3, I4, I7).

import { expect, it } from "vitest";
import { Journal } from "../../src/log/journal.ts";
import { JOURNAL_BYTES, MIB } from "../model/simulated-volume.ts";
import { bulk, formatted, imagesOf, mount, type Mounted, settle, treeOf, unmount, Workload } from "./copies-scene.ts";

const SIZES = [48 * MIB, 24 * MIB];
const journal = (): Journal => new Journal(new Uint8Array(JOURNAL_BYTES));

/** Writes all over what is free on the copies, with commits between. */
async function churn(work: Workload, mounted: Mounted, name: string): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await bulk(work, mounted.fs, `${name}-${i}`, 3 * MIB);
    await mounted.volume.forceCommit();
  }
}

for (const steps of [1, undefined]) {
  it(`a copy selected as master ${steps === undefined ? "before it is caught up" : "on the way"} has what its log acknowledged`, async () => {
    const seed = 300 + (steps ?? 0);
    const work = new Workload(seed, 300_000);
    let mounted = await mount(seed, await formatted(seed, SIZES), { journal: journal() });
    await work.begin(mounted.fs);
    await bulk(work, mounted.fs, "before", 2 * MIB);
    await mounted.volume.forceCommit();
    const { sequence } = mounted.volume;
    // Through the log: whole blocks that records name, and small pieces that they hold.
    await bulk(work, mounted.fs, "logged", 2 * MIB + 5000);
    await work.run(mounted.fs, 20);
    await mounted.fs.sync();
    expect(mounted.volume.sequence).toBe(sequence);
    const acknowledged = await work.tree();

    mounted.devices[1]?.fail({ operation: "write", nth: 1, permanent: true, effect: { kind: "error", code: "EIO" } });
    await bulk(work, mounted.fs, "without", MIB);
    expect(mounted.volume.members.inSync).toBe(1);
    await mounted.fs.unlink(1, new TextEncoder().encode("logged"), { uid: 0, gid: 0, pid: 1, umask: 0 });
    await churn(work, mounted, "away");
    await unmount(mounted);

    const stopped = steps === undefined ? { start: false } : { stopAfterSteps: steps };
    mounted = await mount(seed, imagesOf(mounted.devices), { ...stopped, journal: journal() });
    if (steps !== undefined) await settle(mounted);
    expect(mounted.volume.members.inSync).toBe(1);
    await churn(work, mounted, "back");
    const alone = [undefined, imagesOf(mounted.devices)[1]];
    expect(await treeOf(seed, alone, { forcedMaster: 1 })).toBe(acknowledged);
  });
}
