// What no copy can read (I5). A copy that comes back and lacks it is brought everything else, the walk comes to an end that says so,
// and once those blocks are gone it comes in sync (I8). A mount and a worker that takes over do without it.

import { expect, it } from "vitest";
import { checkVolume } from "../../fsck/check.ts";
import { BLOCKREF_BYTES, RefType, refPointer } from "../../src/format/blockref.ts";
import { KIB, RING_AREA_KIB } from "../../src/format/geometry.ts";
import { inodesRoot, orphansRoot } from "../../src/ops/inodes.ts";
import { rootCount, rootLevel, treeFind } from "../../src/tree/tree.ts";
import { bringBack } from "../../src/walk/bring-back.ts";
import { type NamedBlock, namedBlock } from "../../src/walk/named-block.ts";
import { Sweep } from "../../src/walk/sweep.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { pattern, runStep } from "../model/workload.ts";
import {
  bulk,
  copiesOf,
  devicesOver,
  eachAlone,
  formatted,
  type Images,
  imagesOf,
  mount,
  type Mounted,
  settle,
  unmount,
  Workload,
} from "./copies-scene.ts";
import { refusal } from "../unit/errno.ts";

/** Spoils blocks of the bulk file on copy 0; returns how many it found. */
function spoil(images: Images, blocks: number): number {
  const image = images[0]!;
  const block = new Uint8Array(64 * KIB);
  let spoilt = 0;
  for (let at = RING_AREA_KIB * KIB; at + block.length <= image.sizeBytes && spoilt < blocks; at += block.length) {
    image.read(at, block);
    const first = block[0] as number;
    if (!pattern(0, block.length, first).every((byte, i) => byte === block[i])) continue;
    image.flipBit(at + 100, 3);
    spoilt++;
  }
  return spoilt;
}

/** The last block of this type that the live tree names. */
async function lastOf(type: number, { volume }: Mounted): Promise<NamedBlock> {
  let last: NamedBlock | undefined;
  await volume.untilLoaded(() =>
    new Sweep(volume.store, volume.rootImage).step([], Infinity, ({ block }, at) => {
      const named = namedBlock(block, at);
      if (named.type === type) last = named;
      return 1;
    }),
  );
  return last!;
}

const FILES = 40;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };

/** Files with more than fits into an inode, long names and long attributes: every type of block there is. */
async function everyType({ fs, volume }: Mounted): Promise<void> {
  for (let i = 0; i < FILES; i++) {
    const { ino } = await fs.makeNode(1, Buffer.from(`${"long".repeat(30)}${i}`), 0o100644, 0, 0, CALLER);
    await fs.write(ino, 0, pattern(0, 400 * KIB, i), {});
    await fs.setXattr(ino, "user.long", pattern(0, 2 * KIB, i), 0, CALLER, false);
    fs.forget(ino, 1);
  }
  await volume.forceCommit();
}

for (const [type, name] of [
  [RefType.INODE, "inode"],
  [RefType.INDIRECT, "indirect block"],
  [RefType.DIRENT, "entry of a folder"],
  [RefType.XATTR, "block of attributes"],
] as const) {
  it(`one ${name} that no copy can read keeps back nothing but what is below it`, async () => {
    const seed = 980 + type;
    const images = await formatted(seed, [48 * MIB, 48 * MIB]);
    const before = await mount(seed, [images[0], undefined], { degraded: true });
    await everyType(before);
    const { pointers } = await lastOf(type, before);
    const usedBytes = KIB * before.volume.statfs().copies[0]!.usedKib;
    await unmount(before);
    const spoilt = before.devices[0]!.image;
    spoilt.flipBit(pointers[0]! * KIB + 100, 3);

    const mounted = await mount(seed, [spoilt, images[1]]);
    await settle(mounted);
    const { end, progress } = mounted.caretaker.catchUps.get(1)!;
    expect(end, mounted.notes.join("\n")).toBe("unreadable");
    expect(mounted.notes.join("\n")).toMatch(/copy 1 can't come in sync: 1 blocks .*h2ts online DIR 1/);
    expect(mounted.volume.copies.copy(1)?.standing).toBe("syncing");
    expect(progress.bytes).toBeGreaterThan(usedBytes - MIB);
    // It can be read again: the rest is brought.
    mounted.devices[0]!.image.flipBit(pointers[0]! * KIB + 100, 3);
    await bringBack(mounted.volume, mounted.caretaker, 1);
    await settle(mounted);
    expect(mounted.volume.copies.copy(1)?.standing).toBe("in-sync");
    await unmount(mounted);
    const whole = imagesOf(mounted.devices);
    expect(await checkVolume(await copiesOf(seed, devicesOver(whole), true), {})).toEqual([]);
  });
}

it("a resync that meets blocks no copy can read ends, with the copy out of sync until they are gone", async () => {
  for (const count of [1, 40]) {
    const seed = 970 + count;
    const work = new Workload(seed, 100_000);
    let images = await formatted(seed, [24 * MIB, 24 * MIB]);
    let mounted = await mount(seed, [images[0], undefined], { degraded: true });
    await work.begin(mounted.fs);
    await bulk(work, mounted.fs, "bulk", 4 * MIB);
    await unmount(mounted);
    images = [mounted.devices[0]?.image, images[1]];
    const spoilt = spoil(images, count);
    expect(spoilt, `seed ${seed}`).toBe(count);

    mounted = await mount(seed, images);
    await settle(mounted);
    expect(mounted.caretaker.catchUps.get(1)).toMatchObject({ end: "unreadable" });
    expect(mounted.notes.join("\n")).toMatch(
      new RegExp(`copy 1 can't come in sync: ${count} blocks .*h2ts online DIR 1`),
    );
    expect(mounted.volume.copies.copy(1)?.standing).toBe("syncing");
    // All the rest was brought.
    expect(mounted.caretaker.catchUps.get(1)?.progress.bytes).toBeGreaterThan(4 * MIB - (count + 1) * 64 * KIB);
    await work.run(mounted.fs, 10);
    for (const each of [mounted.fs, work.model]) {
      expect(await runStep(each, { do: "unlink", at: ["bulk"] })).toBe("ok");
      expect(await runStep(each, { do: "sync" })).toBe("ok");
    }
    await bringBack(mounted.volume, mounted.caretaker, 1);
    await settle(mounted);
    expect(mounted.volume.copies.copy(1)?.standing).toBe("in-sync");
    await work.run(mounted.fs, 5);
    await unmount(mounted);
    images = imagesOf(mounted.devices);
    expect(await checkVolume(await copiesOf(seed, devicesOver(images), true), {})).toEqual([]);
    await eachAlone(seed, images, await work.tree());
  }
});

/** Spoils the block of an inode on every copy. */
async function spoilInode(made: SimulatedVolume, ino: number): Promise<void> {
  await made.volume.forceCommit();
  await made.volume.view((state) => {
    const { block, at } = treeFind(state.store, inodesRoot(state.pfs()), ino)!;
    for (const [i, { image }] of made.devices.entries()) image.flipBit(refPointer(block.view, at, i) * KIB + 100, 3);
  });
}

it("an unlinked file of which no copy can read the inode is left alone at a take-over, and the others are not", async () => {
  const caller = { uid: 0, gid: 0, pid: 1, umask: 0 };
  let made = await (await SimulatedVolume.format(990, [16 * MIB, 16 * MIB])).remount();
  const inos: number[] = [];
  for (const name of ["first", "rotten", "held", "last"]) {
    inos.push((await made.fs.makeNode(1, Buffer.from(name), 0o100644, 0, 0, caller)).ino);
    await made.fs.unlink(1, Buffer.from(name), caller);
  }
  const [, rotten, held] = inos as [number, number, number, number];
  await spoilInode(made, rotten);
  made = await made.takeOver();
  await made.fs.takeOver((ino) => Promise.resolve(ino === held));
  made.fs.answered(true);
  for (let turn = 0; turn < 5; turn++) await new Promise(setImmediate);
  await made.fs.settled();
  const answers = inos.map((ino) => refusal(() => made.fs.getAttributes(ino)));
  expect(await Promise.all(answers)).toEqual(["ESTALE", "EIO", "ok", "ESTALE"]);
  made.fs.forget(held, 1);
  await made.fs.close();
  expect(await refusal(() => made.fs.getAttributes(held))).toBe("ESTALE");
  expect(made.volume.readOnly).toBeUndefined();
  await made.volume.close();
});

/** Spoils on every copy the last of the blocks right below the root of the marks of inodes without names. */
async function spoilMarks(made: SimulatedVolume): Promise<void> {
  await made.volume.forceCommit();
  await made.volume.view((state) => {
    const root = orphansRoot(state.pfs());
    expect([rootLevel(root), rootCount(root)]).toEqual([1, 2]);
    const at = root.at + BLOCKREF_BYTES;
    for (const [i, { image }] of made.devices.entries())
      image.flipBit(refPointer(root.block.view, at, i) * KIB + 100, 3);
  });
}

it("marks of unlinked files that no copy can read end neither a mount nor what goes on", async () => {
  const caller = { uid: 0, gid: 0, pid: 1, umask: 0 };
  const notes: string[] = [];
  const onNote = (line: string): void => void notes.push(line);
  const lost = /^removed files from inode \d+ on can't be listed \(.*unreadable on every copy.*fsck\.h2ts$/;
  let made = await (await SimulatedVolume.format(991, [16 * MIB, 16 * MIB])).remount();
  const kept = await made.fs.makeNode(1, Buffer.from("kept"), 0o100644, 0, 0, caller);
  const gone: number[] = [];
  for (let i = 0; i < 200; i++) {
    gone.push((await made.fs.makeNode(1, Buffer.from(`gone${i}`), 0o100644, 0, 0, caller)).ino);
    await made.fs.unlink(1, Buffer.from(`gone${i}`), caller);
  }
  const [first, last] = [gone[0]!, gone.at(-1)!];
  await spoilMarks(made);
  made = await made.takeOver();
  await made.fs.takeOver(() => Promise.resolve(true), onNote);
  expect(notes).toEqual([expect.stringMatching(lost)]);
  expect((await made.fs.getAttributes(kept.ino)).nlink).toBe(1);
  await made.fs.makeNode(1, Buffer.from("new"), 0o100644, 0, 0, caller);
  expect(await refusal(() => made.fs.getAttributes(first))).toBe("ok");
  await made.volume.close();

  notes.length = 0;
  const mounted = await made.atRest().reopened({ onNote });
  const answers = [first, last].map((ino) => refusal(() => mounted.fs.getAttributes(ino)));
  expect(await Promise.all(answers)).toEqual(["ESTALE", "ok"]);
  expect(notes).toEqual([expect.stringMatching(lost)]);
  expect(mounted.volume.readOnly).toBeUndefined();
  expect(await mounted.fs.lookup(1, Buffer.from("new"))).toMatchObject({ nlink: 1 });
  await mounted.volume.close();
});
