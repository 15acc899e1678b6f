// Files without a name that somebody has open: they are whole until they are closed, however they are cut and written, also when
// the process that served them died meanwhile; then they go, and their room with them (I10).

import { beforeEach, describe, expect, it } from "vitest";
import { pfsNextIno } from "../../src/format/pfs.ts";
import { RELEASE_MAX_BLOCKS } from "../../src/ops/data.ts";
import type { Caller } from "../../src/posix/requests.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { MemoryVolume } from "../property/posix-volume.ts";
import { refusal } from "./errno.ts";

const CALLER: Caller = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const ROOT = 1;
const WINDOW = 65536;
/** More blocks than one step frees. */
const BLOCKS = RELEASE_MAX_BLOCKS + 100;
const name = Buffer.from("file");

let made: MemoryVolume;
let ino: number;
beforeEach(async () => {
  made = await MemoryVolume.format({ sizesMib: [64] });
  ino = (await made.fs.makeNode(ROOT, name, 0o100644, 0, 0, CALLER)).ino;
});

/** A small block in each of many windows. */
async function fill(): Promise<void> {
  for (let i = 0; i < BLOCKS; i++) await made.fs.write(ino, i * WINDOW, new Uint8Array(1000).fill(i), {});
}

const cut = (size: number) => made.fs.setAttributes(ino, { size });

async function holds(byte: number): Promise<void> {
  const { pieces } = await made.fs.read(ino, 0, 10);
  expect(Buffer.concat(pieces)).toEqual(Buffer.alloc(10, byte));
}

async function closedIsGone(): Promise<void> {
  made.fs.forget(ino, 1);
  await made.fs.settled();
  expect(await refusal(() => made.fs.getAttributes(ino))).toBe("ESTALE");
  await made.remount();
  expect(await made.findings()).toEqual([]);
}

describe("a file without a name that is open", () => {
  it("is cut in many steps and written on", async () => {
    await fill();
    await made.fs.unlink(ROOT, name, CALLER);
    await cut(1000);
    await made.fs.settled();
    await holds(0);
    await made.fs.write(ino, 0, new Uint8Array(10).fill(7), {});
    await fill();
    await cut(0);
    // While it is still being cut: that goes first.
    await made.fs.write(ino, 5 * WINDOW, new Uint8Array(10).fill(8), {});
    await made.fs.write(ino, 0, new Uint8Array(10).fill(9), {});
    await holds(9);
    await closedIsGone();
  });

  it("loses its name while it is being cut", async () => {
    await fill();
    await cut(1000);
    await made.fs.unlink(ROOT, name, CALLER);
    await made.fs.settled();
    await holds(0);
    await closedIsGone();
  });

  it("is closed while it is being cut", async () => {
    await fill();
    await made.fs.unlink(ROOT, name, CALLER);
    await cut(1000);
    await closedIsGone();
  });
});

describe("after another process took over", () => {
  /** Nodes that the kernel holds, as far as it was told. */
  const held = new Set<number>();
  let next: FileSystem;
  const takenOver = async (): Promise<void> => {
    next = new FileSystem(made.volume);
    await next.takeOver((asked) => Promise.resolve(held.has(asked)));
  };
  /** No request is under way; what the kernel was asked is answered, and what follows from that done. */
  const settled = async (): Promise<void> => {
    next.answered(true);
    for (let i = 0; i < 5; i++) await new Promise(setImmediate);
    await next.settled();
  };
  /** The kernel gives back one lookup, and with it all that it had. */
  const letGoIsGone = async (): Promise<void> => {
    held.delete(ino);
    next.forget(ino, 1);
    await settled();
    expect(await refusal(() => next.getAttributes(ino))).toBe("ESTALE");
  };
  beforeEach(() => {
    held.clear();
  });

  it("an old file that is removed goes when the kernel lets go of it, however often it was given it before", async () => {
    held.add(ino);
    await takenOver();
    await next.lookup(ROOT, name);
    await next.unlink(ROOT, name, CALLER);
    await settled();
    expect((await next.getAttributes(ino)).nlink).toBe(0);
    // As often as it was looked up here: that tells nothing of before.
    await letGoIsGone();
  });

  it("one that is open stays, although the kernel gave back more than it was given here", async () => {
    held.add(ino);
    await takenOver();
    await next.lookup(ROOT, name);
    // An earlier inode object of the kernel's, which has another one now.
    next.forget(ino, 3);
    await next.unlink(ROOT, name, CALLER);
    await settled();
    expect((await next.getAttributes(ino)).nlink).toBe(0);
    await letGoIsGone();
  });

  it("one that lost its name before goes at once, unless the kernel holds it", async () => {
    const other = (await made.fs.makeNode(ROOT, Buffer.from("other"), 0o100644, 0, 0, CALLER)).ino;
    await made.fs.unlink(ROOT, name, CALLER);
    await made.fs.unlink(ROOT, Buffer.from("other"), CALLER);
    held.add(other);
    await takenOver();
    await settled();
    expect(await refusal(() => next.getAttributes(ino))).toBe("ESTALE");
    expect((await next.getAttributes(other)).nlink).toBe(0);
    expect(await made.volume.view((state) => pfsNextIno(state.pfs().view))).toBeGreaterThan(other);
  });
});
