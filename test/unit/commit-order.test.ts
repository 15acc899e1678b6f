// Who asks for a commit while one is under way shares the next one with everybody else who does, whatever they ask for
// (I2): a barrier, a commit by force, a change of membership.

import { expect, it } from "vitest";
import type { Caller } from "../../src/posix/requests.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";

const CALLER: Caller = { uid: 0, gid: 0, pid: 1, umask: 0o022 };

it("barriers and forced commits asked for during a commit do not get in each other's way", async () => {
  const { volume, fs } = await SimulatedVolume.format(3, [20 * MIB, 24 * MIB]);
  for (let round = 0; round < 8; round++) {
    const make = (name: string) => fs.makeNode(1, Buffer.from(`${name}-${round}`), 0o100644, 0, 0, CALLER);
    await make("first");
    const first = volume.barrier();
    const forced = volume.forceCommit();
    await make("second");
    const second = volume.barrier();
    const changed = volume.changeMembers(() => undefined);
    await make("third");
    await Promise.all([first, forced, second, changed, volume.barrier()]);
  }
  expect(volume.readOnly).toBeUndefined();
});

it("a change of membership that throws changes nothing", async () => {
  const { volume } = await SimulatedVolume.format(3, [20 * MIB, 24 * MIB]);
  const { sequence } = volume;
  const refused = volume.changeMembers(() => {
    throw new Error("no");
  });
  await expect(refused).rejects.toThrow("no");
  expect([volume.sequence, volume.readOnly]).toEqual([sequence, undefined]);
});
