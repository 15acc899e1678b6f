// Commits asked for while one is under way (I2): barriers share whatever commit comes next, one by force and a change of
// membership come one after another, and nobody is answered before what was done until then is durable.

import { expect, it, vi } from "vitest";
import { DeviceError } from "../../src/device/device.ts";
import { CrashPoint, SimulatedDisk } from "../../src/device/simulated-disk.ts";
import type { Caller } from "../../src/posix/requests.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";

const SEED = 3;
const SIZES = [20 * MIB, 24 * MIB];
const CALLER: Caller = { uid: 0, gid: 0, pid: 1, umask: 0o022 };

it("barriers and forced commits asked for during a commit do not get in each other's way", async () => {
  const disk = new SimulatedDisk();
  const { volume, fs } = await SimulatedVolume.format(SEED, SIZES, disk);
  const answers: { events: number; files: number }[] = [];
  const answered = async (asked: Promise<void>, files: number): Promise<void> => {
    await asked;
    answers.push({ events: disk.events.length, files });
  };
  for (let round = 0; round < 4; round++) {
    const { sequence } = volume;
    const before = 3 * round;
    const make = (name: string) => fs.makeNode(1, Buffer.from(`${name}-${round}`), 0o100644, 0, 0, CALLER);
    await make("first");
    const asked = [answered(volume.barrier(), before + 1), answered(volume.forceCommit(), before + 1)];
    await make("second");
    asked.push(answered(volume.barrier(), before + 2));
    asked.push(
      answered(
        volume.changeMembers(() => undefined),
        before + 2,
      ),
    );
    await make("third");
    asked.push(answered(volume.barrier(), before + 3));
    await Promise.all(asked);
    // The first one, the one by force, which does for both barriers that came during the first, and the change.
    expect(volume.sequence - sequence).toBe(3);
  }
  expect(volume.readOnly).toBeUndefined();
  // Had the power gone at any answer, and taken with it all that was not flushed.
  const points = SIZES.map((_, device) => new CrashPoint(disk, device));
  for (const { events, files } of answers) {
    for (const point of points) point.advanceTo(events);
    const images = points.map((point) => point.image([]));
    const left = await SimulatedVolume.open(SEED, images);
    expect((await describeFileSystem(left.fs)).length - 1).toBeGreaterThanOrEqual(files);
  }
});

it("a copy that fails when a commit has nothing left to do but to end is dropped at once (I2)", async () => {
  const { volume, fs, copies, devices } = await SimulatedVolume.format(SEED, SIZES);
  await fs.makeNode(1, Buffer.from("first"), 0o100644, 0, 0, CALLER);
  const { members } = volume;
  const committed = members.committed.bind(members);
  vi.spyOn(members, "committed").mockImplementation((...args) => {
    committed(...args);
    copies.giveUp(copies.copy(1)!, new DeviceError("copy1", "read", 0, "EIO"));
    vi.restoreAllMocks();
  });
  const { sequence } = volume;
  await volume.barrier();
  // Of what was asked for only: nobody asks for anything any more.
  await vi.waitFor(() => expect(volume.sequence).toBe(sequence + 2));
  expect([members.inSync, copies.copy(1)?.standing, volume.readOnly]).toEqual([1, "faulted", undefined]);
  expect(devices[1]!.calls.write).toBeGreaterThan(0);
});

it("a change of membership that throws changes nothing", async () => {
  const { volume } = await SimulatedVolume.format(SEED, SIZES);
  const { sequence } = volume;
  const refused = volume.changeMembers(() => {
    throw new Error("no");
  });
  await expect(refused).rejects.toThrow("no");
  expect([volume.sequence, volume.readOnly]).toEqual([sequence, undefined]);
});
