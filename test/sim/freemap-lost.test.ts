// A leaf of a bitmap that no copy can read: nothing is given out by it, so nothing more is written (I3), but all can be read, what was
// acknowledged stays (I4), and who looks is told what is damaged and what helps. Leaves are read when they are needed: at a mount or later.

import { describe, expect, it } from "vitest";
import { fsckVolume } from "../../fsck/fsck.ts";
import { KIB } from "../../src/format/geometry.ts";
import { describeFileSystem } from "../model/digest.ts";
import { placesOfLeaf } from "../model/freemap-places.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";

/** Three leaves each: inodes go to the first, larger blocks to the second, whole windows and logs to the third. */
const SIZES = [80 * MIB, 80 * MIB];
const LEAVES = [0, 1, 2];
const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const DAMAGED = /^the freemap of copy 0 is damaged; run fsck\.h2ts -y \(.*unreadable on every copy/;

async function addFile({ fs }: SimulatedVolume, text: string, sizeBytes = 70_000): Promise<number> {
  const { ino } = await fs.makeNode(ROOT, new TextEncoder().encode(text), 0o100644, 0, 0, CALLER);
  await fs.write(ino, 0, new Uint8Array(sizeBytes).fill(ino), {});
  return ino;
}

async function garble({ devices }: SimulatedVolume, places: readonly number[]): Promise<void> {
  for (const [copy, device] of devices.entries())
    await device.write((places[copy] as number) * KIB + 100, [new Uint8Array(50).fill(0x5a)]);
}

/**
 * A volume at rest, all of whose roots name leaf `index` where it is garbled. `logged`: its log has files that were acknowledged. What it
 * has is told, too.
 */
async function damaged(
  seed: number,
  index: number,
  logged = false,
): Promise<{ cut: SimulatedVolume; wanted: string[] }> {
  const real = await (await SimulatedVolume.format(seed, SIZES)).remount();
  for (let i = 0; i < 20; i++) await addFile(real, `old-${i}`, 1 + i * 6000);
  for (let slot = 0; slot < 4; slot++) await real.volume.forceCommit();
  const places = await placesOfLeaf(real, index);
  if (logged) {
    for (let i = 0; i < 5; i++) await addFile(real, `new-${i}`);
    await real.fs.sync();
  } else await real.volume.close();
  const wanted = await describeFileSystem(real.fs);
  const cut = real.atRest();
  await garble(cut, places);
  return { cut, wanted };
}

const fsck = (cut: SimulatedVolume) =>
  fsckVolume({ copies: cut.copies, devices: [] }, { force: true, clock: cut.clock, repair: "full" });

describe("a leaf of a bitmap that no copy can read", () => {
  it.each(LEAVES)("turns the volume read-only when it is needed, at the mount or later (leaf %i)", async (index) => {
    const { cut, wanted } = await damaged(401 + index, index);
    const mounted = await cut.atRest().reopened();
    const { fs, volume } = mounted;
    if (volume.readOnly === undefined) {
      let failure: unknown;
      // The first who needs it is told; it is read once more, for the next, before that counts as damage.
      for (let i = 0; i < 6 && volume.readOnly === undefined; i++)
        await addFile(mounted, `more-${i}`)
          .then(() => volume.forceCommit())
          .catch((error: unknown) => (failure = error));
      expect(failure).toMatchObject({ code: expect.stringMatching(/^(EIO|EROFS)$/) as string });
    }
    expect(volume.readOnly).toMatch(DAMAGED);
    await expect((async () => fs.makeNode(ROOT, Buffer.from("no"), 0o100644, 0, 0, CALLER))()).rejects.toMatchObject({
      code: "EROFS",
    });
    const now = await describeFileSystem(fs);
    expect(now.filter((line) => line.startsWith("/old-"))).toEqual(wanted.filter((line) => line.startsWith("/old-")));
    expect((await fsck(cut)).exitCode).toBe(1);
    const mended = await cut.atRest().reopened();
    expect(mended.volume.readOnly).toBeUndefined();
    expect(await describeFileSystem(mended.fs)).toEqual(wanted);
  });

  it.each(LEAVES)(
    "is asked for again by whoever needs it next, when it could not be read once (leaf %i)",
    async (index) => {
      const real = await (await SimulatedVolume.format(431 + index, SIZES.slice(1))).remount();
      for (let i = 0; i < 20; i++) await addFile(real, `old-${i}`, 1 + i * 6000);
      for (let slot = 0; slot < 4; slot++) await real.volume.forceCommit();
      const [kib] = (await placesOfLeaf(real, index)) as [number];
      await real.volume.close();
      const mounted = await real.atRest().reopened();
      const effect = { kind: "error", code: "EIO" } as const;
      mounted.devices[0]?.fail({ operation: "read", nth: 1, atByte: kib * KIB, effect });
      const failures: unknown[] = [];
      for (let i = 0; i < 6; i++)
        await addFile(mounted, `more-${i}`, 30_000 + 40_000 * (i % 2))
          .then(() => mounted.volume.forceCommit())
          .catch((error: unknown) => failures.push(error));
      expect(failures.length).toBeLessThanOrEqual(1);
      for (const failure of failures) expect(failure).toMatchObject({ code: "EIO" });
      expect(mounted.volume.readOnly).toBeUndefined();
    },
  );

  it.each(LEAVES)("keeps what was acknowledged while the volume was mounted (leaf %i)", async (index) => {
    const real = await (await SimulatedVolume.format(411 + index, SIZES)).remount();
    await addFile(real, "old", 30_000);
    for (let slot = 0; slot < 4; slot++) await real.volume.forceCommit();
    const places = await placesOfLeaf(real, index);
    const mounted = await real.remount();
    await garble(mounted, places);
    let acknowledged: string[] = [];
    try {
      for (let i = 0; i < 10; i++) {
        await addFile(mounted, `file-${i}`);
        await mounted.fs.sync();
        acknowledged = await describeFileSystem(mounted.fs);
        if (i % 3 === 2) await mounted.volume.forceCommit();
      }
    } catch (error) {
      expect(error).toMatchObject({ code: expect.stringMatching(/^(EIO|EROFS)$/) as string });
      if (mounted.volume.readOnly === undefined)
        await expect(addFile(mounted, "again")).rejects.toMatchObject({ code: "EIO" });
      expect(mounted.volume.readOnly).toMatch(DAMAGED);
    }
    const cut = mounted.atRest();
    expect((await fsck(cut)).exitCode & ~1).toBe(0);
    const names = new Set(await describeFileSystem((await cut.atRest().reopened()).fs));
    for (const line of acknowledged.slice(1)) expect(names).toContain(line);
  });

  it.each(LEAVES)(
    "keeps no log from being read: the mount is read-only, with all that was acknowledged (leaf %i)",
    async (index) => {
      const { cut, wanted } = await damaged(421 + index, index, true);
      for (const options of [{}, { readOnly: true }]) {
        const mounted = await cut.atRest().reopened(options);
        expect(mounted.volume.readOnly).toMatch("readOnly" in options ? /^mounted read-only$/ : DAMAGED);
        expect(await describeFileSystem(mounted.fs)).toEqual(wanted);
      }
      expect((await fsck(cut)).exitCode).toBe(1);
      const mended = await cut.atRest().reopened();
      expect(mended.volume.readOnly).toBeUndefined();
      expect(await describeFileSystem(mended.fs)).toEqual(wanted);
    },
  );
});
