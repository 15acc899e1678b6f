// fsck on a volume that is damaged and has operations waiting in its log: what is wrong below the log is never what the log is carried
// out on, and nothing that was whole, or was acknowledged, is lost by the repair (I3, I4).

import { describe, expect, it } from "vitest";
import { type FsckOptions, fsckVolume } from "../../fsck/fsck.ts";
import { refPointer } from "../../src/format/blockref.ts";
import { KIB } from "../../src/format/geometry.ts";
import { rootFreemapOffset } from "../../src/format/root-block.ts";
import { setInodeNlink } from "../../src/format/inode.ts";
import { editInode, inodesRoot } from "../../src/ops/inodes.ts";
import { treeFind } from "../../src/tree/tree.ts";
import type { PfsState } from "../../src/tree/pfs-state.ts";
import { describeFileSystem } from "../model/digest.ts";
import { placesOfLeaf } from "../model/freemap-places.ts";
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

const addFive = async (volume: SimulatedVolume): Promise<void> => {
  for (let i = 0; i < 5; i++) await addFile(volume, ROOT, `acknowledged-${i}`, 70_000);
};

/**
 * A volume with files in its tree, and in its log what `work` does; `spoil` changes the tree behind the back of everything, and all
 * check codes above are right.
 */
async function scene(
  seed: number,
  spoil: (volume: SimulatedVolume) => Promise<unknown>,
  { sizes = SIZES, work = addFive }: { sizes?: readonly number[]; work?: typeof addFive } = {},
): Promise<Scene> {
  const real = await (await SimulatedVolume.format(seed, sizes)).remount();
  for (let i = 0; i < 30; i++) await addFile(real, ROOT, `old-${i}`, 1 + i * 3000);
  await real.volume.forceCommit();
  await spoil(real);
  await real.volume.forceCommit();
  await work(real);
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

/** Inode of the file old-0. */
const OLD = 2;

const spoilOld = ({ volume }: SimulatedVolume): Promise<void> =>
  volume.maintain((state) => void (editInode(state, OLD).bytes[200] = 1));

/** The record that comes first in the log goes on from the inode `OLD`. */
async function changeOldAndAdd(real: SimulatedVolume): Promise<void> {
  await real.fs.setAttributes(OLD, { mode: 0o600 });
  await addFive(real);
}

/** First KiB of the block of `OLD` on each copy. */
async function placesOfOld({ volume, devices }: SimulatedVolume): Promise<readonly number[]> {
  return volume.view((state) => {
    const { block, at } = treeFind(state.store, inodesRoot(state.pfs()), OLD)!;
    return devices.map((_, copy) => refPointer(block.view, at, copy));
  });
}

describe("a log that goes on from what is damaged", () => {
  it("is carried out whole where that can be mended", async () => {
    const at = await scene(311, spoilOld, { work: changeOldAndAdd });
    await expect(at.cut.atRest().reopened()).rejects.toThrow(/reserved1 is not zero/);
    const outcome = await fsck(at.cut, { repair: "full" });
    expect(outcome.exitCode).toBe(1);
    await isWhole(at);
  });

  it("goes on from link counts that are right: a file that has a name is not removed", async () => {
    const twoNames = async (real: SimulatedVolume): Promise<void> => {
      await real.fs.link(OLD, ROOT, name("second"), CALLER);
      await real.volume.maintain((state) => setInodeNlink(editInode(state, OLD).view, 1));
    };
    const unlinkOne = async (real: SimulatedVolume): Promise<void> => {
      await real.volume.maintain((state) => setInodeNlink(editInode(state, OLD).view, 2));
      await real.fs.unlink(ROOT, name("old-0"), CALLER);
    };
    const at = await scene(312, twoNames, { work: unlinkOne });
    expect((await fsck(at.cut, { repair: "safe" })).exitCode).toBe(1);
    await isWhole(at);
  });

  it("stays while nobody says that it may be given up; then it is told how much of it went (-y --abandon)", async () => {
    let places: readonly number[] = [];
    const remember = async (real: SimulatedVolume): Promise<void> => {
      places = await placesOfOld(real);
      await changeOldAndAdd(real);
    };
    const { cut } = await scene(313, nothing, { work: remember });
    for (const [copy, { image }] of cut.devices.entries())
      image.write((places[copy] as number) * KIB, new Uint8Array(1024).fill(0xa5));
    for (const repair of ["safe", "full"] as const) {
      const kept = await fsck(cut, { repair });
      expect(kept.exitCode).toBe(4);
      expect(idsOf(kept.left).sort()).toEqual(["block-lost", "log-pending"]);
      expect(kept.failures.map(({ message }) => message)).toEqual([
        expect.stringMatching(/^the log can't be carried out: block of .* unreadable on every copy.*--abandon/),
      ]);
    }
    for (const { calls } of cut.devices) expect(calls.write).toBe(0);
    const outcome = await fsck(cut, { repair: "full", abandon: true });
    expect(idsOf(outcome.left)).toEqual(["log-dropped"]);
    expect(outcome.left[0]?.message).toMatch(/: 11 of 11 operations were given up: block of .* unreadable/);
    expect(outcome.exitCode).toBe(5);
    expect((await fsck(cut.atRest(), {})).exitCode).toBe(0);
    const names = (await describeFileSystem((await cut.atRest().reopened()).fs)).map((line) => line.split(" ")[0]);
    expect(names).toHaveLength(30);
    expect(names).not.toContain("/old-0");
  });
});

/** Large enough for three leaves of a bitmap. */
const LARGE = [80 * MIB];

describe("a block that can't be read for a while, above others, where the bitmap is lost that says where these are (I3)", () => {
  /** The block of the first file's inode; the leaf with the file's data is garbled. */
  async function hidden(sizes: readonly number[], leaf: number): Promise<Scene & { readonly kib: number }> {
    let [old, lost]: (readonly number[])[] = [[], []];
    const grow = async ({ fs }: SimulatedVolume): Promise<void> => {
      await fs.write(OLD, 0, new Uint8Array(30_000).fill(7), {});
    };
    const work = async (real: SimulatedVolume): Promise<void> => {
      [old, lost] = [await placesOfOld(real), await placesOfLeaf(real, leaf)];
      // No whole window of data: what the log has of it is given a place when it is carried out.
      for (let i = 0; i < 6; i++) await addFile(real, ROOT, `acknowledged-${i}`, 30_000);
    };
    const at = await scene(321, grow, { sizes, work });
    at.cut.devices[0]!.image.write((lost![0] as number) * KIB + 100, new Uint8Array(50).fill(0x5a));
    return { ...at, kib: old![0] as number };
  }

  /** A repair with `--abandon`, in which the block can be read again when the `looks`-th look begins. */
  async function abandoned(
    { cut, kib }: { cut: SimulatedVolume; kib: number },
    looks: number,
    whileAt: "rings" | "links",
  ) {
    const [device] = cut.devices as [SimulatedVolume["devices"][number]];
    device.fail({
      operation: "read",
      nth: 1,
      permanent: true,
      atByte: kib * KIB,
      effect: { kind: "error", code: "EIO" },
    });
    let begun = 0;
    const onProgress = (phase: string): void => {
      if (phase === whileAt && ++begun === looks) device.faults.clear();
    };
    const outcome = await fsck(cut, { repair: "full", abandon: true, onProgress });
    expect(idsOf(outcome.findings)).toEqual(expect.arrayContaining(["log-pending", "block-lost"]));
    return outcome;
  }

  it.each([
    ["a part of the bitmap", LARGE, 1, 2, "rings"],
    ["a part of the bitmap, and the block is back at once", LARGE, 1, 1, "links"],
  ] as const)("is not written over below when the log is carried out (%s)", async (_, sizes, leaf, looks, phase) => {
    const at = await hidden(sizes, leaf);
    const outcome = await abandoned(at, looks, phase);
    expect(outcome.failures).toEqual([]);
    await isWhole(at);
  });

  it("keeps the log where no bitmap is left to go by, once it can be read again", async () => {
    const at = await hidden(SIZES.slice(1), 0);
    const outcome = await abandoned(at, 1, "links");
    expect(outcome.failures).toEqual([]);
    expect(outcome.exitCode).toBe(1);
    await isWhole(at);
  });

  it("is given up with all below where no bitmap is left to go by and it stays so", async () => {
    const at = await hidden(SIZES.slice(1), 0);
    const outcome = await abandoned(at, Infinity, "rings");
    expect(outcome.failures).toEqual([]);
    expect(outcome.exitCode).toBe(1);
    at.cut.devices[0]!.faults.clear();
    const wanted = at.wanted.filter((line) => !line.startsWith("/old-0/ "));
    await isWhole({ cut: at.cut, wanted });
  });
});

it("-p opens no volume on a bitmap that it found wrong", async () => {
  const { cut, wanted } = await scene(304, loseBitsAndLinks, { work: nothing });
  const outcome = await fsck(cut, { repair: "safe" });
  expect(idsOf(outcome.findings)).toEqual(expect.arrayContaining(["freemap-lost", "link-count"]));
  expect(outcome.exitCode).toBe(1);
  await isWhole({ cut, wanted: wanted.map((line) => line.replace("links 7", "links 1")) });
});

it("a bitmap that can't be read keeps nobody from reading: a mount is read-only and says why; fsck sees it at a light look", async () => {
  const at = await scene(305, nothing, { work: ({ volume }) => volume.close() });
  await garbleFreemap(at.cut);
  for (const options of [{}, { readOnly: true }]) {
    const mounted = await at.cut.atRest().reopened(options);
    expect(mounted.volume.readOnly).toMatch(
      "readOnly" in options ? /^mounted read-only$/ : /^the freemap of copy 0 is damaged; run fsck.h2ts -y/,
    );
    expect(mounted.volume.failed).toBe(false);
    expect(await describeFileSystem(mounted.fs)).toEqual(at.wanted);
    expect(mounted.volume.statfs().copies[0]?.freeKib ?? 0).toBeGreaterThanOrEqual(0);
  }
  const looked = await fsck(at.cut, { force: false });
  expect(looked.light).toBe(false);
  expect(looked.exitCode).toBe(4);
  expect((await fsck(at.cut, { force: false, repair: "safe" })).exitCode).toBe(1);
  await isWhole(at);
  expect((await at.cut.atRest().reopened()).volume.readOnly).toBeUndefined();
});
