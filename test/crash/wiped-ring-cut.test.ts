// A copy that left has its ring wiped. A cut, or a kill, meanwhile never leaves older roots of it without the newest one (I2, I4): that says
// that the copy alone is not enough, and those before it do not, so that what was acknowledged since would be hidden, and two parts go on.

import { expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import { SimulatedDevice } from "../../src/device/simulated.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formattedNodes, mount, targetOf, unmount, Workload } from "../sim/copies-scene.ts";

const SEED = 5;

/** The replaced copy is device 0. `commits`: before that, so that its newest root lies in another slot. */
async function recordReplaced(commits: number): Promise<SimulatedDisk> {
  const work = new Workload(SEED, 60_000);
  const before = await mount(SEED, await formattedNodes(SEED, [20 * MIB]));
  await work.begin(before.fs);
  await work.run(before.fs, 15);
  for (let i = 0; i < commits; i++) await before.volume.forceCommit();
  await unmount(before);
  const disk = new SimulatedDisk();
  const images = before.devices.map((device) => device?.image);
  const mounted = await mount(SEED, images, { disk });
  const device = new SimulatedDevice("new", 22 * MIB, { disk });
  await mounted.caretaker.replace(0, targetOf(device), { random: new SeededRandom(SEED + 1) });
  await mounted.caretaker.settled();
  await work.run(mounted.fs, 10);
  await mounted.fs.sync();
  await unmount(mounted);
  expect(mounted.volume.members.all, mounted.notes.join("\n")).toBe(0b10);
  return disk;
}

/** Whether the replaced copy is mounted for writing by itself, with these of the writes that no flush covers. */
async function goesOn(point: CrashPoint, kept: CrashPoint["pending"]): Promise<boolean> {
  const image = point.image(kept.map((event) => ({ event })));
  try {
    const mounted = await mount(SEED, [image, undefined], { start: false });
    const { readOnly } = mounted.volume;
    await unmount(mounted).catch(() => undefined);
    return readOnly === undefined;
  } catch {
    return false;
  }
}

it("a replaced copy never goes on by itself, however far its ring was wiped", async () => {
  let wiped = 0;
  for (let commits = 0; commits < 3; commits++) {
    const disk = await recordReplaced(commits);
    const random = new SeededRandom(SEED + commits);
    const point = new CrashPoint(disk, 0);
    for (let cut = 1; cut <= disk.events.length; cut++) {
      point.advanceTo(cut);
      const event = disk.events[cut - 1];
      if (event?.kind !== "write" || event.device !== 0 || !event.bytes.every((byte) => byte === 0)) continue;
      wiped++;
      const { pending } = point;
      // All: a kill. Front and back of one slot follow one another.
      const slots = [0, 1, 2, 3].map((slot) => pending.filter((_, i) => i >> 1 === slot));
      for (const kept of [pending, ...slots, pending.filter(() => random.below(2) === 0)]) {
        const where = `seed ${SEED}, ${commits} commits before, cut ${cut}, ${kept.length} of ${pending.length} wipes kept`;
        expect(await goesOn(point, kept), where).toBe(false);
      }
    }
  }
  expect(wiped).toBeGreaterThanOrEqual(3 * 8);
});
