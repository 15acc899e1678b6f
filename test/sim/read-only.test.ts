// A volume that can only be read, or turned so, although its devices could be written to: no root and no block is written, whatever
// fails (I2, I11).

import { describe, expect, it, vi } from "vitest";
import { newestRoot } from "../../src/copies/choose-root.ts";
import { readRings } from "../../src/copies/ring.ts";
import { DeviceError } from "../../src/device/device.ts";
import type { PagedImage } from "../../src/device/paged-image.ts";
import { KIB } from "../../src/format/geometry.ts";
import { refPointer } from "../../src/format/blockref.ts";
import { ROOT_BLOCK, ROOT_SUPER_OFFSET } from "../../src/format/root-block.ts";
import { offsetOf } from "../../src/format/structure.ts";
import { Journal, JOURNAL_BYTES } from "../../src/log/journal.ts";
import { MIB } from "../model/simulated-volume.ts";
import { formatted, type Images, imagesOf, mount, type Mounted, unmount } from "./copies-scene.ts";
import { within } from "./virtual-time.ts";

const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const FILE_BYTES = 256 * KIB;
const LIMIT_MS = 600_000;
const SIZES = [16 * MIB, 17 * MIB, 18 * MIB, 19 * MIB];
const name = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A volume of four copies with one file; `change` is made in what its newest root says. */
async function made(seed: number, change: (mounted: Mounted) => void = () => undefined): Promise<Images> {
  const mounted = await mount(seed, await formatted(seed, SIZES), { start: false });
  const { ino } = await mounted.fs.makeNode(ROOT, name("file"), 0o100644, 0, 0, CALLER);
  await mounted.fs.write(ino, 0, new Uint8Array(FILE_BYTES).fill(7), {});
  await mounted.volume.changeMembers(() => change(mounted));
  await unmount(mounted);
  return imagesOf(mounted.devices);
}

const TOO_FEW = async (seed: number): Promise<Images> => (await made(seed)).slice(0, 2);

/** Some later version uses something in it that this one does not know. */
const UNKNOWN = (seed: number): Promise<Images> =>
  made(seed, ({ volume }) => volume.rootImage.view.setUint32(offsetOf(ROOT_BLOCK, "roCompat"), 2 ** 20, true));

async function inodeOf({ fs }: Mounted): Promise<number> {
  return (await fs.lookup(ROOT, name("file")))!.ino;
}

/** One bit of each block of the file is wrong. */
function rot(image: PagedImage): void {
  const block = new Uint8Array(64 * KIB);
  for (let at = 0; at < image.sizeBytes; at += block.length) {
    image.read(at, block);
    if (block.every((byte) => byte === 7)) image.flipBit(at, 0);
  }
}

const writesTo = ({ devices }: Mounted): (number | undefined)[] => devices.map((device) => device?.calls.write);

async function newestOnMedia({ copies }: Mounted): Promise<number | undefined> {
  return newestRoot((await readRings(copies)).rings)?.root.sequence;
}

describe.each([
  ["with too few copies", TOO_FEW, /copies needed are complete/],
  ["that a newer program wrote", UNKNOWN, /unknown features allow reading only/],
] as const)("a volume %s", (_, images, why) => {
  it("is written to by nobody when a copy fails", async () => {
    const mounted = await mount(151, await images(151), { start: false });
    const { volume, copies, clock, fs } = mounted;
    expect(volume.readOnly).toMatch(why);
    const { inSync } = volume.members;
    const [sequence, writes] = [volume.sequence, writesTo(mounted)];
    for (let nth = 1; nth < 6; nth++) mounted.devices[0]!.fail({ operation: "read", nth, effect: { kind: "hang" } });
    const reading = Promise.resolve(fs.read(await within(clock, LIMIT_MS, inodeOf(mounted)), 0, FILE_BYTES));
    expect((await within(clock, LIMIT_MS, reading)).lengthBytes).toBe(FILE_BYTES);
    for (let passed = 0; passed < 40; passed++) await clock.advance(500);
    copies.giveUp(copies.copies[0]!, new DeviceError("copy0", "read", 0, "EIO", "pulled out"));
    await clock.advance(10_000);
    await expect(volume.forceCommit()).rejects.toThrow(why);
    expect({ sequence: volume.sequence, inSync: volume.members.inSync }).toEqual({ sequence, inSync });
    expect(writesTo(mounted)).toEqual(writes);
  });

  it("is not repaired while it is opened (I2)", async () => {
    const given = await images(155);
    const look = await mount(155, given, { start: false });
    const at = refPointer(look.volume.rootImage.view, ROOT_SUPER_OFFSET, 0) * KIB;
    await unmount(look);
    const [image] = imagesOf(look.devices) as [PagedImage];
    image.flipBit(at, 0);
    const [before, after] = [new Uint8Array(KIB), new Uint8Array(KIB)];
    image.read(at, before);
    const { volume, copies, devices } = await mount(155, imagesOf(look.devices), { start: false });
    expect(volume.readOnly).toMatch(why);
    expect(copies.copies[0]!.errors.checksum).toBeGreaterThan(0);
    devices[0]!.image.read(at, after);
    expect(after).toEqual(before);
  });

  it("is read from another copy where a block is bad, and that stays as it is", async () => {
    const mounted = await mount(152, await images(152), { start: false });
    const ino = await inodeOf(mounted);
    rot(mounted.devices[0]!.image);
    const writes = writesTo(mounted);
    const { pieces } = await mounted.fs.read(ino, 0, FILE_BYTES);
    expect(pieces.every((piece) => piece.every((byte) => byte === 7))).toBe(true);
    expect(mounted.copies.copies[0]!.errors.checksum).toBeGreaterThan(0);
    expect(writesTo(mounted)).toEqual(writes);
  });
});

describe("a volume that turned read-only for a fault of ours", () => {
  it("has no root written any more, neither when a copy fails nor when a walk asks for one", async () => {
    const mounted = await mount(153, await made(153), { start: false });
    const { volume, copies, clock } = mounted;
    await mounted.fs.makeNode(ROOT, name("later"), 0o100644, 0, 0, CALLER);
    const newest = await newestOnMedia(mounted);
    volume.failWith(new TypeError("a fault"));
    copies.giveUp(copies.copies[1]!, new DeviceError("copy1", "read", 0, "EIO", "pulled out"));
    await clock.advance(10_000);
    await expect(volume.forceCommit()).rejects.toThrow("a fault");
    await expect(volume.barrier()).rejects.toThrow("a fault");
    expect(await newestOnMedia(mounted)).toBe(newest);
  });

  it("does not finish a commit that is under way", async () => {
    const mounted = await mount(154, await made(154), { start: false });
    const { volume } = mounted;
    const newest = await newestOnMedia(mounted);
    let flushed = (): void => undefined;
    const until = new Promise<void>((resolve) => (flushed = resolve));
    mounted.devices[0]!.fail({ operation: "flush", nth: 1, effect: { kind: "late", until } });
    const committing = volume.forceCommit();
    const failed = expect(committing).rejects.toThrow("a fault");
    await new Promise(setImmediate);
    volume.failWith(new TypeError("a fault"));
    flushed();
    await failed;
    expect(await newestOnMedia(mounted)).toBe(newest);
  });

  it("does not finish one that was bringing its log up to date (I2)", async () => {
    const journal = new Journal(new Uint8Array(JOURNAL_BYTES));
    const mounted = await mount(156, await made(156), { start: false, journal });
    const { volume, fs, devices } = mounted;
    const newest = await newestOnMedia(mounted);
    const before = devices[0]!.calls.flush;
    const answers: (() => void)[] = [];
    // What is written before the root, and what was acknowledged meanwhile, in the log that goes on from it.
    for (const nth of [1, 3]) {
      const until = new Promise<void>((resolve) => answers.push(resolve));
      devices[0]!.fail({ operation: "flush", nth, effect: { kind: "late", until } });
    }
    const failed = expect(volume.forceCommit()).rejects.toThrow("a fault");
    await new Promise(setImmediate);
    await fs.makeNode(ROOT, name("acknowledged"), 0o100644, 0, 0, CALLER);
    await volume.barrier();
    answers[0]!();
    await vi.waitUntil(() => devices[0]!.calls.flush === before + 3);
    volume.failWith(new TypeError("a fault"));
    answers[1]!();
    await failed;
    expect(await newestOnMedia(mounted)).toBe(newest);
  });
});
