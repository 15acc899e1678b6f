// A full volume (I10): deleting goes on however the space was used up, whoever still has the files open, and gives the
// space back. Found by a test that unlinked every second of thousands of open files: the commit ran out of room.

import { describe, expect, it } from "vitest";
import { checkVolume } from "../../fsck/check.ts";
import { FsError } from "../../src/base/errno.ts";
import type { Caller } from "../../src/posix/requests.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";

const CALLER: Caller = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const nameOf = (number: number): Uint8Array => Buffer.from(`file-${number}`);

/** Makes files of `bytes` until ENOSPC; the inode numbers of those made. */
async function fill(made: SimulatedVolume, bytes: number, from = 0): Promise<number[]> {
  const inos: number[] = [];
  const data = new Uint8Array(bytes).fill(7);
  try {
    for (;;) {
      const { ino } = await made.fs.makeNode(1, nameOf(from + inos.length), 0o100644, 0, 0, CALLER);
      inos.push(ino);
      await made.fs.write(ino, 0, data, {});
    }
  } catch (error) {
    if (!(error instanceof FsError) || error.code !== "ENOSPC") throw error;
  }
  return inos;
}

describe("a full volume", () => {
  for (const { bytes, keepOpen, mib } of [
    { bytes: 4096, keepOpen: true, mib: 20 },
    { bytes: 4096, keepOpen: false, mib: 20 },
    { bytes: 300, keepOpen: true, mib: 10 },
    { bytes: 100_000, keepOpen: true, mib: 20 },
  ]) {
    it(`lets every second file of ${bytes} bytes go, ${keepOpen ? "open" : "closed"}, then all (I10)`, async () => {
      const made = await SimulatedVolume.format(5, [mib * MIB, (mib + 4) * MIB]);
      const free = made.volume.statfs().freeKib;
      const inos = await fill(made, bytes);
      if (!keepOpen) for (const ino of inos) made.fs.forget(ino, 1);
      for (const rest of [0, 1]) {
        for (let i = rest; i < inos.length; i += 2) {
          await made.fs.unlink(1, nameOf(i), CALLER);
          if (i % 500 === 0) await made.fs.sync();
        }
        expect(made.volume.readOnly).toBeUndefined();
        if (keepOpen) for (let i = rest; i < inos.length; i += 2) made.fs.forget(inos[i] as number, 1);
        await made.fs.settled();
      }
      for (let i = 0; i < 4; i++) await made.volume.forceCommit();
      expect(made.volume.statfs().freeKib).toBeGreaterThan(free - 128);
      expect((await fill(made, bytes, 100_000)).length).toBeGreaterThan(inos.length * 0.9);
      await made.volume.close();
      const findings = await checkVolume(made.copies, { everyRoot: true });
      expect(findings.filter((finding) => finding.severity !== "note")).toEqual([]);
    });
  }
});
