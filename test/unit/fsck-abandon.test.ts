// What no copy can read is given up when the operator says so: of inodes and directories, because nothing else removes it, and of
// nothing else. What is still there is all found again, by its name or in lost+found.
import { expect, test } from "vitest";
import { SeededRandom } from "../../src/base/random.ts";
import { SimulatedClock } from "../../src/device/simulated-clock.ts";
import { DeviceError } from "../../src/device/device.ts";
import { RefType, refType } from "../../src/format/blockref.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { openVolume } from "../../src/volume/open.ts";
import { buildGoodImage } from "../../fixtures/corrupt/good-image.ts";
import { allBlocks } from "../../fixtures/corrupt/image-blocks.ts";
import type { VolumeImage } from "../../fixtures/corrupt/image-builder.ts";
import { ImageEditor } from "../../fixtures/corrupt/image-editor.ts";
import { memoryCopies, type MemoryDevice, memoryDevices } from "../../fixtures/corrupt/memory-copies.ts";
import { checkVolume } from "../../fsck/check.ts";
import { type FsckOutcome, fsckVolume } from "../../fsck/fsck.ts";
import { describeFileSystem } from "../model/digest.ts";

const good = buildGoodImage();
const clock = new SimulatedClock();

/** What becomes of a block that is lost on every copy. */
type Kind = "given up" | "left" | "mended";

interface Place {
  readonly index: number;
  readonly kind: Kind;
  /** Of an inode's own block. */
  readonly ino?: number;
}

/** Every block of the good image but the root's own, which is in the ring, and the PFS. */
const places: readonly Place[] = allBlocks(new ImageEditor(good)).flatMap(({ holder, at }, index) => {
  if (holder === undefined) return [];
  const kinds: Partial<Record<number, Kind>> = {
    [RefType.INODE]: "given up",
    [RefType.DIRENT]: "given up",
    [RefType.DATA]: "left",
    [RefType.XATTR]: "left",
    [RefType.FREEMAP]: "mended",
  };
  const type = refType(holder.view, at);
  const kind = type === RefType.INDIRECT ? kinds[leafType(index)] : kinds[type];
  return kind === undefined ? [] : [{ index, kind, ...(type === RefType.INODE && { ino: inodeNumber(index) }) }];
});

/** What the indirect block holds. */
function leafType(index: number): number {
  return refType((allBlocks(new ImageEditor(good))[index] as { view: DataView }).view, 0);
}

function inodeNumber(index: number): number {
  const { holder, at } = allBlocks(new ImageEditor(good))[index]!;
  return Number(holder!.view.getBigUint64(at + 8, true));
}

function spoiled(...indices: readonly number[]): ImageEditor {
  const editor = new ImageEditor(good);
  const blocks = allBlocks(editor);
  // The deepest first: those below can't be found any more when those above are garbage.
  for (const index of [...indices].sort((a, b) => b - a)) {
    const { holder, at } = blocks[index]!;
    for (const copy of [0, 1]) editor.garble({ block: holder!, at }, copy);
  }
  return editor;
}

function fsck(volume: VolumeImage, abandon: boolean): Promise<FsckOutcome> {
  const copies = memoryCopies(volume, false);
  return fsckVolume({ copies, devices: memoryDevices(volume) }, { force: true, clock, repair: "full", abandon });
}

async function contents(volume: VolumeImage, lossy = false): Promise<string[]> {
  const opened = await openVolume(memoryCopies(volume, false), { clock, commitMs: 0 });
  const lines = await describeFileSystem(new FileSystem(opened, clock), lossy);
  await opened.close();
  return lines;
}

/** Size and digest of every file with content. */
const hashesIn = (lines: readonly string[]): string[] =>
  [...new Set(lines.flatMap((line) => / size [1-9]\d* [0-9a-f]{16}/.exec(line) ?? []))].sort();

async function isSound(volume: VolumeImage, outcome: FsckOutcome): Promise<void> {
  const told = [...outcome.left, ...outcome.failures].map(({ message }) => message).join("\n");
  expect(outcome.exitCode, told).toBe(1);
  expect(await checkVolume(memoryCopies(volume))).toEqual([]);
}

const ofKind = (kind: Kind): (readonly [string, Place])[] =>
  places.filter((place) => place.kind === kind).map((place) => [`block ${place.index}`, place] as const);

const sound = await contents(new ImageEditor(good));

/** What a file of the good image holds. */
const hashOf = (path: string): string => hashesIn(sound.filter((line) => line.startsWith(`${path} `))).join();

/** The files with content of the good image. */
const FILES: ReadonlyMap<number, string> = new Map([
  [2, "/inline/"],
  [3, "/blocks/"],
  [7, "/sparse/"],
]);

test.each(ofKind("given up"))("%s: of inodes or a directory goes, and all others are found again", async (_, place) => {
  const { index, ino } = place;
  const volume = spoiled(index);
  const without = await fsck(volume, false);
  expect(without.exitCode & 4).toBe(4);
  expect(without.left.map(({ id }) => id)).toContain("H2F-011-block-lost");
  await isSound(volume, await fsck(volume, true));
  const before = await contents(new ImageEditor(good));
  const lost = hashesIn(before.filter((line) => line.startsWith(`${FILES.get(ino ?? 0) ?? "no"} `)));
  const kept = hashesIn(before).filter((hash) => !lost.includes(hash));
  const now = hashesIn(await contents(volume));
  // Where a part of the index goes, all its inodes do.
  if (ino === undefined && leafType(index) === RefType.INODE) expect(kept).toEqual(expect.arrayContaining(now));
  else expect(now.filter((hash) => kept.includes(hash))).toEqual(kept);
});

test.each(ofKind("left"))("%s: of a file stays as it is, until the file is deleted", async (_, { index }) => {
  const volume = spoiled(index);
  const outcome = await fsck(volume, true);
  expect(outcome.exitCode).toBe(4);
  const [finding] = outcome.left;
  expect(outcome.left.map(({ id }) => id)).toEqual(["H2F-011-block-lost"]);
  const opened = await openVolume(memoryCopies(volume, false), { clock, commitMs: 0 });
  const fs = new FileSystem(opened, clock);
  const caller = { uid: 0, gid: 0, pid: 1, umask: 0 };
  const name = (FILES.get(finding?.ino ?? 0) as string).replaceAll("/", "");
  await fs.unlink(1, Buffer.from(name), caller);
  // Its other name.
  if (name === "inline") await fs.unlink(4, Buffer.from("hard"), caller);
  await fs.close();
  await opened.close();
  // What lay below an indirect block is known to nobody: that it may be freed must be said.
  const isIndirect = / indirect block /.test(finding?.message ?? "");
  expect((await fsck(volume, false)).left.map(({ id }) => id).includes("H2F-011-block-lost")).toBe(isIndirect);
  if (isIndirect) await isSound(volume, await fsck(volume, true));
  expect(await checkVolume(memoryCopies(volume))).toEqual([]);
});

test.each(ofKind("mended"))("%s: of a freemap is computed anew without giving anything up", async (_, { index }) => {
  const volume = spoiled(index);
  await isSound(volume, await fsck(volume, false));
  expect(await contents(volume)).toEqual(await contents(new ImageEditor(good)));
});

test("several of them at once, at random", async () => {
  const metadata = places.filter(({ kind }) => kind !== "left");
  for (let seed = 700; seed < 740; seed++) {
    const random = new SeededRandom(seed);
    const chosen = metadata.filter(() => random.below(4) === 0).map(({ index }) => index);
    if (chosen.length === 0) continue;
    const volume = spoiled(...chosen);
    const outcome = await fsck(volume, true);
    expect([outcome.exitCode, outcome.left.map(({ message }) => message)], `seed ${seed}`).toEqual([1, []]);
    expect(await checkVolume(memoryCopies(volume)), `seed ${seed}`).toEqual([]);
    await contents(volume);
  }
});

test("nothing is given up, and nothing changed, while a copy is not there that may have it", async () => {
  const inode = places.find(({ ino }) => ino === 3) as Place;
  const volume = spoiled(inode.index);
  const before = volume.copies.map(({ image }) => image.fork());
  const half = { ...volume, copies: volume.copies.slice(0, 1) };
  const target = { copies: memoryCopies(half, false), devices: memoryDevices(half) };
  await expect(fsckVolume(target, { force: true, clock, repair: "full", abandon: true })).rejects.toThrow(
    /^copy 1: may have what the others lack, so nothing is given up: give it too/,
  );
  const page = (image: (typeof before)[number]): Buffer => {
    const bytes = Buffer.alloc(image.sizeBytes);
    image.read(0, bytes);
    return bytes;
  };
  for (const [i, { image }] of volume.copies.entries())
    expect(page(image).equals(page(before[i] as (typeof before)[number]))).toBe(true);
});

test("nothing is given up while a copy is on its way out: it was not asked, and a mount would ask it", async () => {
  const volume = new ImageEditor(good);
  volume.garble(volume.inodeRef(3), 0);
  const copies = memoryCopies(volume, false);
  copies.repairs = false;
  const opened = await openVolume(copies, { clock, commitMs: 0 });
  await opened.changeMembers(() => opened.members.beginLeaving(1, "is being detached"));
  await opened.close();
  await expect(fsck(volume, true)).rejects.toThrow(/^copy 1: may have what the others lack, .* or finish its detach$/);
  expect((await contents(volume)).filter((line) => line.startsWith("/blocks/ "))).toHaveLength(1);
});

test("nothing is given up that a copy could not give for a while only", async () => {
  // Its block is bad on copy 0; from the nth read on copy 1 fails some reads, and works again.
  let refused = 0;
  for (let n = 0; n < 160; n++) {
    const volume = new ImageEditor(good);
    volume.garble(volume.inodeRef(3), 0);
    const copies = memoryCopies(volume, false);
    const { device } = copies.copies[1] as unknown as { device: MemoryDevice };
    const read = device.read.bind(device);
    let reads = 0;
    device.read = (offsetBytes, targets) => {
      reads++;
      if (reads <= n || reads > n + 11) return read(offsetBytes, targets);
      return Promise.reject(new DeviceError(device.name, "read", offsetBytes, "EIO", "for a while"));
    };
    const options = { force: true, clock, repair: "full", abandon: true } as const;
    const outcome = await fsckVolume({ copies, devices: memoryDevices(volume) }, options).catch(() => undefined);
    if (outcome?.findings.some(({ id, ino }) => id === "H2F-011-block-lost" && ino === 3)) refused++;
    const kept = (await contents(volume, true)).filter((line) => line.startsWith("/blocks/ "));
    expect(kept, `reads fail from the ${n}th on`).toHaveLength(1);
    expect(kept[0]).toContain(hashOf("/blocks/"));
  }
  expect(refused).toBeGreaterThan(2);
});
