// A root can name any place as its log (I12): a mount goes on with an empty log only where that place is one for a log, and free.
import { expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { refPointer } from "../../src/format/blockref.ts";
import { ROOT_SUPER_OFFSET } from "../../src/format/root-block.ts";
import { setRootLog } from "../../src/format/root-log.ts";
import { Journal, JOURNAL_BYTES } from "../../src/log/journal.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { openVolume } from "../../src/volume/open.ts";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { ImageEditor } from "../../fixtures/corrupt/image-editor.ts";
import { memoryCopies } from "../../fixtures/corrupt/memory-copies.ts";
import { checkVolume } from "../../fsck/check.ts";

const clock = new SimulatedClock();
const caller = { uid: 0, gid: 0, pid: 1, umask: 0 };

test.each([
  ["in a root ring", 64],
  ["past the end of the copy", 2 ** 41],
  ["not aligned", 8193],
  ["nowhere", 0],
  ["in a block of the tree", "super-root"],
] as const)("a log that begins %s is not gone on with", async (_, head) => {
  const volume = new ImageEditor(buildGoodImage());
  const superRootKib = refPointer(volume.root.view, ROOT_SUPER_OFFSET, 0);
  // A segment is aligned to its size; the block of the PFS is somewhere in it.
  const headKib = head === "super-root" ? superRootKib - (superRootKib % 64) : head;
  setRootLog(volume.root.view, randomUuid(new SeededRandom(5)), [headKib, headKib]);
  volume.save(volume.root);
  const copies = memoryCopies(volume, false);
  const journal = new Journal(new Uint8Array(JOURNAL_BYTES));
  const opened = await openVolume(copies, { clock, commitMs: 0, journal, isClaimed: true });
  const fs = new FileSystem(opened, clock);
  const { ino } = await fs.makeNode(1, Buffer.from("new"), 0o100644, 0, 0, caller);
  await fs.syncFile(ino);
  expect(copies.failed).toEqual([]);
  // As a power cut would leave it.
  const findings = await checkVolume(memoryCopies(volume));
  expect(findings.filter(({ severity }) => severity !== "note")).toEqual([]);
  expect(findings.map(({ name }) => name)).toContain("log-pending");
  await opened.close();
});
