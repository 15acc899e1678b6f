// Content: which blocks a file is made of after each kind of write, large truncations in steps, holes, full volumes.

import { beforeEach, describe, expect, it } from "vitest";
import { FILE_SIZE_MAX } from "../../src/format/geometry.ts";
import { InodeFlag, inodeFlags } from "../../src/format/inode.ts";
import { dataRoot, extentFrom } from "../../src/ops/file-data.ts";
import { inodeOf } from "../../src/ops/inodes.ts";
import { type Caller, FallocateMode, Seek } from "../../src/posix/requests.ts";
import { servedDuring } from "../model/served-during.ts";
import { MemoryVolume } from "../property/posix-volume.ts";
import { refusal } from "./errno.ts";

const CALLER: Caller = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const PAGE = 4096;
const WINDOW = 65536;
const PUNCH = FallocateMode.PUNCH_HOLE | FallocateMode.KEEP_SIZE;

let made: MemoryVolume;
let ino: number;
beforeEach(async () => {
  made = await MemoryVolume.format({ sizesMib: [64] });
  ino = (await made.fs.makeNode(1, Buffer.from("file"), 0o100644, 0, 0, CALLER)).ino;
});

const filled = (length: number, fill = 1): Uint8Array => new Uint8Array(length).fill(fill);

async function write(offset: number, length: number, fill = 1): Promise<void> {
  expect(await made.fs.write(ino, offset, filled(length, fill), {})).toBe(length);
}

async function read(offset: number, length: number): Promise<Buffer> {
  return Buffer.concat((await made.fs.read(ino, offset, length)).pieces);
}

/** The blocks of the file as "offset+size", in KiB. */
async function blocks(): Promise<string> {
  return made.volume.view((state) => {
    const inode = inodeOf(state, ino);
    if ((inodeFlags(inode.view) & InodeFlag.INLINE) !== 0) return "inline";
    const found: string[] = [];
    for (let at = 0; ; ) {
      const extent = extentFrom(state.store, dataRoot(inode), at);
      if (extent === undefined) return found.join(" ");
      found.push(`${extent.key / 1024}+${extent.sizeBytes / 1024}`);
      at = extent.end;
    }
  });
}

async function sound(): Promise<void> {
  await made.remount();
  expect(await made.findings()).toEqual([]);
}

describe("layout", () => {
  it("keeps small files in the inode and moves them out when they grow", async () => {
    await write(0, 512);
    expect(await blocks()).toBe("inline");
    await write(512, 1, 2);
    expect(await blocks()).toBe("0+1");
    expect([...(await read(511, 2))]).toEqual([1, 2]);
    await made.fs.setAttributes(ino, { size: 0 });
    await write(0, 10);
    expect(await blocks()).toBe("inline");
    await sound();
  });

  it("gives a file written at once one block for its tail", async () => {
    await write(0, 20_000);
    expect(await blocks()).toBe("0+32");
    await write(0, WINDOW + 5000);
    expect(await blocks()).toBe("0+64 64+8");
    await sound();
  });

  it("doubles the tail of a file that is appended to, up to whole windows", async () => {
    for (let at = 0; at < 40 * PAGE; at += PAGE) await write(at, PAGE, at / PAGE);
    expect(await blocks()).toBe("0+64 64+64 128+32");
    for (let page = 0; page < 40; page++) expect((await read(page * PAGE + 7, 1))[0]).toBe(page);
    await sound();
  });

  it("appends to a committed file without writing long blocks again", async () => {
    await write(0, 10_000);
    await made.remount();
    await write(10_000, 100);
    expect(await blocks()).toBe("0+16");
    await write(10_100, 20_000);
    expect(await blocks()).toBe("0+32");
    await made.remount();
    await write(30_100, 100);
    expect(await blocks()).toBe("0+4 4+4 8+4 12+4 16+4 20+4 24+4 28+4");
    await sound();
  });

  it("splits a large block for a small change, and joins the pieces when the window is written again", async () => {
    await write(0, 2 * WINDOW);
    await made.remount();
    await write(5 * PAGE + 10, 100, 9);
    expect(await blocks()).toBe(`${Array.from({ length: 16 }, (_, i) => `${i * 4}+4`).join(" ")} 64+64`);
    expect([...(await read(5 * PAGE + 9, 2))]).toEqual([1, 9]);
    expect([...(await read(5 * PAGE + 109, 2))]).toEqual([9, 1]);
    await write(0, WINDOW, 3);
    expect(await blocks()).toBe("0+64 64+64");
    await sound();
  });

  it("leaves holes where nothing was written", async () => {
    await write(10 * PAGE + 100, 50);
    expect(await blocks()).toBe("40+1");
    expect(await made.fs.seek(ino, 0, Seek.DATA)).toBe(10 * PAGE);
    expect(await made.fs.seek(ino, 0, Seek.HOLE)).toBe(0);
    expect(await refusal(() => made.fs.seek(ino, 10 * PAGE + 150, Seek.DATA))).toBe("ENXIO");
    expect((await read(0, 11 * PAGE)).equals(Buffer.concat([Buffer.alloc(10 * PAGE + 100), filled(50)]))).toBe(true);
    await sound();
  });
});

describe("sizes", () => {
  it("clears what a truncation cuts off", async () => {
    await write(0, 3 * WINDOW);
    await made.fs.setAttributes(ino, { size: 70_000 });
    await made.fs.setAttributes(ino, { size: 3 * WINDOW });
    expect(await blocks()).toBe("0+64 64+8");
    const bytes = await read(0, 3 * WINDOW);
    expect(bytes.subarray(0, 70_000).every((byte) => byte === 1)).toBe(true);
    expect(bytes.subarray(70_000).every((byte) => byte === 0)).toBe(true);
    await sound();
  });

  it("refuses what no offset can reach", async () => {
    expect(await refusal(() => write(FILE_SIZE_MAX, 1))).toBe("EFBIG");
    expect(await refusal(() => made.fs.setAttributes(ino, { size: FILE_SIZE_MAX + 1 }))).toBe("EFBIG");
    expect(await refusal(() => made.fs.fallocate(ino, FILE_SIZE_MAX, 10, 0))).toBe("EFBIG");
    expect(await refusal(() => made.fs.setAttributes(1, { size: 0 }))).toBe("EISDIR");
    expect(await refusal(() => made.fs.read(1, 0, 1))).toBe("EISDIR");
    await write(FILE_SIZE_MAX - 5, 5, 7);
    expect((await made.fs.getAttributes(ino)).size).toBe(FILE_SIZE_MAX);
    expect([...(await read(FILE_SIZE_MAX - 6, 100))]).toEqual([0, 7, 7, 7, 7, 7]);
    // The kernel writes whole pages back, and the last one may be full.
    await write(2 ** 53 - WINDOW - PAGE, PAGE, 8);
    expect(await made.fs.seek(ino, FILE_SIZE_MAX - PAGE, Seek.HOLE)).toBe(2 ** 53 - WINDOW);
    await made.fs.setAttributes(ino, { size: 2 ** 53 - WINDOW });
    await sound();
  });

  it("frees a file of many blocks in steps, while it is used again", async () => {
    // Every second page: thousands of small blocks.
    for (let page = 0; page < 5000; page += 2) await write(page * PAGE, PAGE, page);
    const { usedKib } = made.volume.statfs().copies[0] as { usedKib: number };
    const cut = await made.fs.setAttributes(ino, { size: 3 * PAGE });
    expect(cut).toMatchObject({ size: 3 * PAGE, isTrimming: true });
    // Past the old end: what is left of it has to go first.
    await write(4000 * PAGE, 10, 5);
    expect((await read(0, 5000 * PAGE)).subarray(3 * PAGE, 4000 * PAGE).every((byte) => byte === 0)).toBe(true);
    await made.fs.settled();
    expect(await made.fs.getAttributes(ino)).toMatchObject({ isTrimming: false });
    expect(await blocks()).toBe("0+4 8+4 16000+1");
    await sound();
    expect(made.volume.statfs().copies[0]?.usedKib).toBeLessThan(usedKib - 9000);
  });

  it("finishes a truncation after a crash between two steps", async () => {
    for (let page = 0; page < 5000; page += 2) await write(page * PAGE, PAGE, page);
    await made.volume.apply({ op: "setattr", ino, size: PAGE, killPrivileges: false, time: made.clock.now() });
    await made.fs.sync();
    await made.crash();
    expect(await blocks()).toBe("0+4");
    await made.fs.sync();
    expect(await made.findings()).toEqual([]);
  });
});

describe("fallocate", () => {
  it("punches whole blocks out and zeroes the rest, any number of them", async () => {
    for (let page = 0; page < 5000; page += 2) await write(page * PAGE, PAGE, 7);
    await made.fs.fallocate(ino, 100, 4990 * PAGE, PUNCH);
    expect(await blocks()).toBe("0+4 19960+4 19968+4 19976+4 19984+4 19992+4");
    const bytes = await read(0, 5000 * PAGE);
    expect(bytes.subarray(0, 100).every((byte) => byte === 7)).toBe(true);
    expect(bytes.subarray(100, 4990 * PAGE + 100).every((byte) => byte === 0)).toBe(true);
    expect(bytes[4990 * PAGE + 100]).toBe(7);
    await sound();
  });

  it("makes exact holes in large blocks", async () => {
    await write(0, 2 * WINDOW, 7);
    await made.remount();
    await made.fs.fallocate(ino, 3 * PAGE + 5, 4 * PAGE, PUNCH);
    expect(await blocks()).toBe("0+16 28+4 32+32 64+64");
    expect(await made.fs.seek(ino, 0, Seek.HOLE)).toBe(4 * PAGE);
    const bytes = await read(0, 2 * WINDOW);
    for (const [at, value] of [
      [3 * PAGE + 4, 7],
      [3 * PAGE + 5, 0],
      [7 * PAGE + 4, 0],
      [7 * PAGE + 5, 7],
    ] as const) {
      expect(bytes[at]).toBe(value);
    }
    await sound();
  });

  it("extends, keeps the size, and knows its modes", async () => {
    await made.fs.fallocate(ino, 0, 100_000, 0);
    expect((await made.fs.getAttributes(ino)).size).toBe(100_000);
    await made.fs.fallocate(ino, 0, 200_000, FallocateMode.KEEP_SIZE);
    expect((await made.fs.getAttributes(ino)).size).toBe(100_000);
    await made.fs.fallocate(ino, 0, 300_000, FallocateMode.ZERO_RANGE);
    expect((await made.fs.getAttributes(ino)).size).toBe(300_000);
    expect(await refusal(() => made.fs.fallocate(ino, 0, 10, FallocateMode.PUNCH_HOLE))).toBe("EOPNOTSUPP");
    expect(await refusal(() => made.fs.fallocate(ino, 0, 10, 0x08))).toBe("EOPNOTSUPP");
    expect(await refusal(() => made.fs.fallocate(ino, 0, 0, 0))).toBe("EINVAL");
    expect(await refusal(() => made.fs.fallocate(ino, 0, 1 << 30, 0))).toBe("ENOSPC");
  });
});

describe("when there is little room", () => {
  /** Free room is `leftMib` or a little less. */
  async function fillUp(leftMib: number): Promise<void> {
    const other = (await made.fs.makeNode(1, Buffer.from("filler"), 0o100644, 0, 0, CALLER)).ino;
    const left = leftMib * 1024;
    for (let at = 0; made.volume.statfs().freeKib > left; at += WINDOW)
      await made.fs.write(other, at, filled(WINDOW), {});
  }

  it("what is allocated already needs no more of it", async () => {
    for (let at = 0; at < 12; at++) await write(at << 20, 1 << 20);
    await fillUp(8);
    await made.fs.fallocate(ino, 0, 12 << 20, 0);
    await made.fs.fallocate(ino, 0, 19 << 20, FallocateMode.KEEP_SIZE);
    expect(await refusal(() => made.fs.fallocate(ino, 0, 21 << 20, 0))).toBe("ENOSPC");
    expect(await refusal(() => made.fs.fallocate(ino, 12 << 20, 12 << 20, 0))).toBe("ENOSPC");
  });

  it("a copy tells how far it came, and the next one why no farther", async () => {
    for (let at = 0; at < 12; at++) await write(at << 20, 1 << 20);
    await fillUp(6);
    const target = (await made.fs.makeNode(1, Buffer.from("target"), 0o100644, 0, 0, CALLER)).ino;
    const copied = await made.fs.copyRange(ino, 0, target, 0, 12 << 20);
    expect(copied).toBeGreaterThan(0);
    expect(copied).toBeLessThan(12 << 20);
    expect((await made.fs.getAttributes(target)).size).toBe(copied);
    expect(await refusal(() => made.fs.copyRange(ino, copied, target, copied, 1 << 20))).toBe("ENOSPC");
  });
});

describe("copyRange", () => {
  it("copies data and keeps holes", async () => {
    await write(0, 100_000, 3);
    await made.fs.setAttributes(ino, { size: 3 << 20 });
    const to = (await made.fs.makeNode(1, Buffer.from("copy"), 0o100644, 0, 0, CALLER)).ino;
    expect(await made.fs.copyRange(ino, 0, to, 0, 10 << 20)).toBe(3 << 20);
    const source = await read(0, 3 << 20);
    ino = to;
    expect((await read(0, 3 << 20)).equals(source)).toBe(true);
    expect((await made.fs.getAttributes(to)).blocks).toBeLessThan(4000);
    expect(await refusal(() => made.fs.copyRange(to, 0, to, 100, 200))).toBe("EINVAL");
    await sound();
  });
});

describe("privileges", () => {
  it("go with a write by others, a change of owner, a truncation", async () => {
    const modeAfter = async (mode: number, change: () => unknown): Promise<string> => {
      await made.fs.setAttributes(ino, { mode });
      await change();
      return (await made.fs.getAttributes(ino)).mode.toString(8);
    };
    expect(await modeAfter(0o6755, () => made.fs.write(ino, 0, filled(1), {}))).toBe("106755");
    expect(await modeAfter(0o6755, () => made.fs.write(ino, 0, filled(1), { killPrivileges: true }))).toBe("100755");
    expect(await modeAfter(0o6745, () => made.fs.write(ino, 0, filled(1), { killPrivileges: true }))).toBe("102745");
    expect(await modeAfter(0o6755, () => made.fs.setAttributes(ino, { uid: 5 }))).toBe("100755");
    expect(await modeAfter(0o6755, () => made.fs.setAttributes(ino, { size: 0, killPrivileges: true }))).toBe("100755");
    const owner = { ...CALLER, uid: 5 };
    const { ino: source } = await made.fs.makeNode(1, Buffer.from("source"), 0o100644, 0, 0, CALLER);
    await made.fs.write(source, 100_000, filled(10_000), {});
    for (const { by, left } of [
      { by: CALLER, left: "106755" },
      { by: owner, left: "100755" },
    ]) {
      for (const mode of [0, FallocateMode.KEEP_SIZE, FallocateMode.ZERO_RANGE, PUNCH])
        expect(await modeAfter(0o6755, () => made.fs.fallocate(ino, 0, 500, mode, by))).toBe(left);
      for (const from of [0, 100_000])
        expect(await modeAfter(0o6755, () => made.fs.copyRange(source, from, ino, 0, 5000, by))).toBe(left);
    }
    await made.fs.setXattr(ino, "security.capability", filled(20), 0, CALLER, false);
    await write(0, 1);
    expect(await made.fs.listXattrs(ino)).toEqual([]);
  });
});

describe("file capabilities", () => {
  it("go with a write, but not with what is written back later of one before", async () => {
    const get = () => made.fs.getXattr(ino, "security.capability");
    await made.fs.setXattr(ino, "security.capability", filled(20), 0, CALLER, false);
    await made.fs.write(ino, 0, filled(10), { cached: true });
    expect(await get()).toBeDefined();
    await made.fs.write(ino, 0, filled(10), {});
    expect(await get()).toBeUndefined();
  });
});

describe("a request on a range of many blocks, all in memory", () => {
  const COUNT = 4500;
  const END = COUNT * WINDOW;
  const PARTS = Math.ceil(COUNT / 1024);
  const attributes = (): unknown => made.fs.getAttributes(ino);
  /** A block in each of COUNT windows. */
  const scattered = async (): Promise<void> => {
    for (let i = 0; i < COUNT; i++) await made.fs.write(ino, i * WINDOW, filled(1), {});
  };

  it.each([
    ["punching", PUNCH],
    ["zeroing", FallocateMode.ZERO_RANGE],
  ])("serves others while %s it", async (_what, mode) => {
    await scattered();
    expect(await servedDuring(made.fs.fallocate(ino, 0, END, mode), attributes)).toBeGreaterThanOrEqual(PARTS - 1);
    expect(await blocks()).toBe("");
  });

  it("serves others while looking for what it would need", async () => {
    await scattered();
    const outcome = refusal(() => made.fs.fallocate(ino, 0, END, 0));
    expect(await servedDuring(outcome, attributes)).toBeGreaterThanOrEqual(PARTS - 1);
    expect(await outcome).toBe("ENOSPC");
  });

  it("serves others while copying it", async () => {
    await scattered();
    const to = (await made.fs.makeNode(1, Buffer.from("to"), 0o100644, 0, 0, CALLER)).ino;
    const copied = made.fs.copyRange(ino, 0, to, 0, 8 * 1024 * 1024);
    expect(await servedDuring(copied, attributes)).toBeGreaterThan(7);
    expect(await copied).toBe(8 * 1024 * 1024);
  });
});

describe("a volume with no room but in small pieces", () => {
  const SIZE = 14_000;

  /** `files` files of SIZE bytes, and then room for blocks of 8 KiB at most. */
  async function shattered(files: number): Promise<number[]> {
    made = await MemoryVolume.format({ sizesMib: [20] });
    const make = async (name: string): Promise<number> =>
      (await made.fs.makeNode(1, Buffer.from(name), 0o100644, 0, 0, CALLER)).ino;
    const inos: number[] = [];
    while (inos.length < files) {
      inos.push((ino = await make(`file${inos.length}`)));
      await write(0, SIZE);
    }
    const [pieces, rest] = [await make("pieces"), await make("rest")];
    const [freemap] = made.volume.store.freemaps;
    const isReserve = (): boolean => freemap!.wholeKib <= freemap!.reserveChunks * 64;
    const fill = async (into: number, bytes: number, isEnough: () => boolean, from = 0): Promise<number> => {
      let next = from;
      while (!isEnough() && (await refusal(() => made.fs.write(into, next * WINDOW, filled(bytes), {}))) === "ok")
        next++;
      return next;
    };
    const count = await fill(pieces, 2 * PAGE, () => false);
    for (let i = 1; i < count; i += 2) await made.fs.fallocate(pieces, i * WINDOW, WINDOW, PUNCH);
    for (let i = 0; i < 4; i++) await made.volume.forceCommit();
    const windows = await fill(rest, WINDOW, isReserve);
    await fill(rest, 4 * PAGE, () => freemap!.leaf(0).find(16, 0, true) < 0, windows);
    expect(freemap!.leaf(0).find(8, 0, true)).toBeGreaterThan(0);
    return inos;
  }

  it("takes a file in several blocks that is appended to, changed before its end, in its middle, or written anew", async () => {
    const changes = [
      [SIZE, 19_000],
      [10_000, 19_000],
      [3000, 6000],
      [0, 16_000],
    ] as const;
    const inos = await shattered(changes.length);
    const looks = async (): Promise<void> => {
      for (const [i, [from, to]] of changes.entries()) {
        ino = inos[i] as number;
        const wanted = filled(Math.max(SIZE, to)).fill(2, from, to);
        expect((await read(0, WINDOW)).equals(Buffer.from(wanted)), `${from} to ${to}`).toBe(true);
        expect((await blocks()).split(" ").length).toBeGreaterThan(1);
      }
    };
    for (const [i, [from, to]] of changes.entries()) {
      ino = inos[i] as number;
      await write(from, to - from, 2);
      expect(made.volume.readOnly).toBeUndefined();
    }
    await looks();
    await sound();
    await looks();
  });
});

describe("a full volume", () => {
  it("says ENOSPC, keeps what it has, and lets go of everything", async () => {
    made = await MemoryVolume.format({ sizesMib: [20, 24] });
    const empty = made.volume.statfs().freeKib;
    const names: string[] = [];
    let refused = "ok";
    for (let i = 0; refused === "ok" && i < 1000; i++) {
      const name = `f${i}`;
      refused = await refusal(async () => {
        ino = (await made.fs.makeNode(1, Buffer.from(name), 0o100644, 0, 0, CALLER)).ino;
        names.push(name);
        await write(0, 300_000, i);
      });
    }
    expect(refused).toBe("ENOSPC");
    expect(made.volume.readOnly).toBeUndefined();
    await sound();
    ino = (await made.fs.lookup(1, Buffer.from("f3")))?.ino ?? 0;
    expect((await read(0, 300_000)).equals(Buffer.from(filled(300_000, 3)))).toBe(true);
    await made.fs.setAttributes(ino, { size: 1000 });
    for (const name of names) {
      await made.fs.unlink(1, Buffer.from(name), CALLER);
    }
    await sound();
    expect(made.volume.statfs().freeKib).toBeGreaterThan(empty - 100);
  });

  it("falls back to small blocks where no large ones are left", async () => {
    made = await MemoryVolume.format({ sizesMib: [20, 24] });
    let count = 0;
    while ((await refusal(() => small(count))) === "ok") count++;
    for (let i = 0; i < count; i += 2) await made.fs.unlink(1, Buffer.from(`s${i}`), CALLER);
    for (let i = 0; i < 4; i++) await made.remount();
    ino = (await made.fs.makeNode(1, Buffer.from("large"), 0o100644, 0, 0, CALLER)).ino;
    await write(0, 2 * WINDOW, 8);
    await write(2 * WINDOW, PAGE + 1, 8);
    expect(await blocks()).not.toContain("+64");
    await sound();
    expect((await read(0, 3 * WINDOW)).every((byte) => byte === 8)).toBe(true);
  });

  async function small(number: number): Promise<void> {
    const created = await made.fs.makeNode(1, Buffer.from(`s${number}`), 0o100644, 0, 0, CALLER);
    made.fs.forget(created.ino, 1);
    await made.fs.write(created.ino, 0, filled(PAGE), {});
  }
});
