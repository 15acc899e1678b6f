// fsck on a volume that is damaged and has operations waiting in its log: what is wrong below the log is never what the log is carried
// out on, and nothing that was whole, or was acknowledged, is lost by the repair (I3, I4).

import { describe, expect, it } from "vitest";
import { type FsckOptions, fsckVolume } from "../../fsck/fsck.ts";
import { refPointer } from "../../src/format/blockref.ts";
import { KIB } from "../../src/format/geometry.ts";
import { rootFreemapOffset } from "../../src/format/root-block.ts";
import { setInodeNlink } from "../../src/format/inode.ts";
import { editInode } from "../../src/ops/inodes.ts";
import type { PfsState } from "../../src/tree/pfs-state.ts";
import { describeFileSystem } from "../model/digest.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";

const SIZES = [24 * MIB, 24 * MIB];
const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const name = (text: string): Uint8Array => new TextEncoder().encode(text);
const idsOf = (findings: readonly { name: string }[]): string[] => findings.map((finding) => finding.name);

interface Scene {
  readonly cut: SimulatedVolume;
  readonly wanted: readonly string[];
}

async function addFile({ fs }: SimulatedVolume, parent: number, text: string, sizeBytes: number): Promise<number> {
  const { ino } = await fs.makeNode(parent, name(text), 0o100644, 0, 0, CALLER);
  await fs.write(ino, 0, new Uint8Array(sizeBytes).fill(ino), {});
  return ino;
}

/**
 * A volume with files in its tree and others in its log, if `logged`; `spoil` changes the tree behind the back of everything, and all
 * check codes above are right.
 */
async function scene(
  seed: number,
  spoil: (volume: SimulatedVolume) => Promise<unknown>,
  { sizes = SIZES, logged = true }: { sizes?: readonly number[]; logged?: boolean } = {},
): Promise<Scene> {
  const real = await (await SimulatedVolume.format(seed, sizes)).remount();
  for (let i = 0; i < 30; i++) await addFile(real, ROOT, `old-${i}`, 1 + i * 3000);
  await real.volume.forceCommit();
  await spoil(real);
  await real.volume.forceCommit();
  if (logged) for (let i = 0; i < 5; i++) await addFile(real, ROOT, `acknowledged-${i}`, 70_000);
  await real.fs.sync();
  return { cut: real.atRest(), wanted: await describeFileSystem(real.fs) };
}

const nothing = (): Promise<void> => Promise.resolve();

const spoilPfs = ({ volume }: SimulatedVolume): Promise<void> =>
  volume.maintain((state: PfsState) => void (state.editPfs().bytes[200] = 1));

/** Calls whole blocks of the files free, and keeps them from being given out as long as this process lives. */
function loseBits({ volume, devices }: SimulatedVolume): Promise<void> {
  let lost = 0;
  for (const [copy, { image }] of devices.entries()) {
    const leaf = volume.store.freemap(copy).leaf(0);
    for (let kib = 0; kib < SIZES[0]! / KIB; kib += 64) {
      const bytes = new Uint8Array(64 * KIB);
      image.read(kib * KIB, bytes);
      if (bytes[0] === 0 || bytes.some((byte) => byte !== bytes[0]) || !leaf.isUsed(kib, 64)) continue;
      leaf.clear(kib, 64);
      leaf.hold(kib, 64);
      leaf.heldRuns++;
      leaf.changed = true;
      lost++;
    }
  }
  expect(lost).toBeGreaterThan(10);
  return Promise.resolve();
}

/** On top of that a link count is wrong, which -p puts right. */
async function loseBitsAndLinks(volume: SimulatedVolume): Promise<void> {
  await loseBits(volume);
  await volume.volume.maintain((state) => setInodeNlink(editInode(state, 3).view, 7));
}

/** Writes nonsense over the bitmap of copy 0, on all copies. */
async function garbleFreemap(cut: SimulatedVolume): Promise<void> {
  const { view } = await cut.newestRoot();
  for (const [copy, device] of cut.devices.entries()) {
    const kib = refPointer(view, rootFreemapOffset(0), copy);
    await device.write(kib * KIB + 100, [new Uint8Array(50).fill(0x5a)]);
  }
}

const fsck = (cut: SimulatedVolume, options: Partial<FsckOptions>) =>
  fsckVolume({ copies: cut.copies, devices: [] }, { force: true, clock: cut.clock, ...options });

/** After the repair all is there, and a second look finds nothing. */
async function isWhole({ cut, wanted }: Scene): Promise<void> {
  const again = await fsck(cut.atRest(), {});
  expect(again.findings.filter(({ severity }) => severity !== "note")).toEqual([]);
  expect(await describeFileSystem((await cut.atRest().reopened()).fs)).toEqual(wanted);
}

describe("a log that waits on a volume that is damaged", () => {
  for (const sizes of [SIZES, SIZES.slice(1)]) {
    it.each(["safe", "full"] as const)(
      `is carried out on a bitmap computed anew where that can't be read (%s, ${sizes.length} copies)`,
      async (repair) => {
        const at = await scene(301, nothing, { sizes });
        await garbleFreemap(at.cut);
        await expect(at.cut.atRest().reopened()).rejects.toThrow(/unreadable on every copy/);
        const outcome = await fsck(at.cut, { repair });
        expect(outcome.failures).toEqual([]);
        expect(outcome.exitCode).toBe(1);
        await isWhole(at);
      },
    );
  }

  it.each(["safe", "full"] as const)(
    "never writes over what its bitmap calls free but is in use (%s)",
    async (repair) => {
      const at = await scene(302, loseBits);
      expect(idsOf((await fsck(at.cut, {})).findings)).toContain("freemap-lost");
      const outcome = await fsck(at.cut, { repair });
      expect(outcome.exitCode).toBe(1);
      await isWhole(at);
    },
  );

  it("is carried out on a mended PFS block where -y is asked for; -p says what keeps it from that, and changes nothing", async () => {
    const at = await scene(303, spoilPfs);
    const left = await fsck(at.cut, { repair: "safe" });
    expect(left.exitCode).toBe(4);
    expect(idsOf(left.left).sort()).toEqual(["log-pending", "pfs-fields"]);
    expect(left.left.map(({ severity }) => severity)).toEqual(["error", "error"]);
    expect(left.failures.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^the log can't be carried out: .*reserved bytes/),
    ]);
    for (const { calls } of at.cut.devices) expect(calls.write).toBe(0);
    const outcome = await fsck(at.cut, { repair: "full" });
    expect(outcome.exitCode).toBe(1);
    await isWhole(at);
  });
});

it("-p opens no volume on a bitmap that it found wrong", async () => {
  const { cut, wanted } = await scene(304, loseBitsAndLinks, { logged: false });
  const outcome = await fsck(cut, { repair: "safe" });
  expect(idsOf(outcome.findings)).toEqual(expect.arrayContaining(["freemap-lost", "link-count"]));
  expect(outcome.exitCode).toBe(1);
  await isWhole({ cut, wanted: wanted.map((line) => line.replace("links 7", "links 1")) });
});
