// A device that another host has mounted is refused before the first byte of it changes, whatever it is to become here (I11): its owner
// goes on, and finds all of its volume afterwards.

import { describe, expect, it } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { isZero } from "../../src/base/uuid.ts";
import { LEASE_MS_DEFAULT } from "../../src/copies/in-use.ts";
import type { OpenTarget } from "../../src/copies/targets.ts";
import { encodeHeartbeat } from "../../src/format/heartbeat.ts";
import { replaceNode } from "../../src/walk/replace-node.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formattedRows } from "./copies-scene.ts";
import { Far, type FarMount, nameOf, SETTLE_MS } from "./far-scene.ts";

const SEED = 9300;

/** Host a has a volume of two copies, the second of two nodes; another volume is on device 3. */
async function twoVolumes(): Promise<{ far: Far; a: FarMount; target: OpenTarget }> {
  const far = new Far(await formattedRows(SEED, [[18 * MIB], [18 * MIB, 18 * MIB]]), SEED);
  const [other] = await formattedRows(SEED + 1, [[20 * MIB]]);
  far.provide(20 * MIB, other);
  return { far, a: await far.mount("a", [[0], [1, 2]]), target: { name: nameOf(3), devices: [far.open("a", 3)] } };
}

const uses: readonly [string, (mounted: FarMount, target: OpenTarget) => Promise<unknown>][] = [
  ["a new copy", ({ caretaker }, target) => caretaker.attach(target, { random: new SeededRandom(SEED) })],
  ["in the place of a copy", ({ caretaker }, target) => caretaker.replace(0, target)],
  ...[0, 1].map((position): (typeof uses)[number] => [
    `in the place of node ${position}`,
    ({ volume, caretaker }, target) => replaceNode(volume, caretaker, { index: 1, position }, target),
  ]),
];

describe("a target that another host has mounted", () => {
  for (const [what, use] of uses) {
    it(`is refused with nothing changed: ${what}`, async () => {
      const { far, a, target } = await twoVolumes();
      const b = await far.mount("b", [[3]]);
      const inSync = a.volume.members.inSync;
      const before = far.network.issued.length;
      await expect(far.done(use(a, target))).rejects.toThrow(/far\/3: is in use by another host/);
      const ours = far.network.issued
        .slice(before)
        .filter(({ host, device }) => host.name === "a" && device === nameOf(3));
      expect(ours).toEqual([]);
      await far.pass(LEASE_MS_DEFAULT);
      await far.done(b.volume.forceCommit());
      expect([a.volume.readOnly, b.volume.readOnly, a.volume.members.inSync]).toEqual([undefined, undefined, inSync]);
      await far.unmount(b);
      await far.unmount(await far.mount("c", [[3]]));
      // Then it can be had at once.
      const startMs = far.clock.monotonicMs();
      await far.done(use(a, target));
      expect(far.clock.monotonicMs() - startMs).toBeLessThan(2 * SETTLE_MS);
      await far.done(a.caretaker.settled());
      expect(a.volume.readOnly).toBeUndefined();
      await far.unmount(a);
    });
  }

  it("is watched for one lease when its host is gone", async () => {
    const { far, a, target } = await twoVolumes();
    const b = await far.mount("b", [[3]]);
    const { uuid } = b.copies.copy(0)!;
    await far.unmount(b);
    const stale = encodeHeartbeat(b.volume.uuid, uuid, new Uint8Array(16).fill(9), 7);
    far.putBeat(3, stale);
    const startMs = far.clock.monotonicMs();
    await far.done(a.caretaker.attach(target));
    const tookMs = far.clock.monotonicMs() - startMs;
    expect(tookMs).toBeGreaterThanOrEqual(LEASE_MS_DEFAULT);
    expect(tookMs).toBeLessThan(1.5 * LEASE_MS_DEFAULT);
    await far.done(a.caretaker.settled());
    await far.unmount(a);
    expect(isZero(far.beatOn(3))).toBe(true);
  });

  it("is not watched while the volume is let go of", async () => {
    const { far, a, target } = await twoVolumes();
    far.putBeat(3, encodeHeartbeat(a.volume.uuid, a.volume.uuid, new Uint8Array(16).fill(9), 7));
    const replaced = replaceNode(a.volume, a.caretaker, { index: 1, position: 1 }, target);
    replaced.catch(() => undefined);
    await far.pass(LEASE_MS_DEFAULT / 8);
    const startMs = far.clock.monotonicMs();
    await far.unmount(a);
    expect(far.clock.monotonicMs() - startMs).toBeLessThan(SETTLE_MS);
    await expect(far.done(replaced)).rejects.toThrow(/let go of/);
  });
});
