// Directories that are moved to another parent, however deep that lies: none comes to lie below itself, the work grows with
// the depth and no faster, few blocks are held for it, and carrying it out again from its record costs none of that.

import { afterEach, describe, expect, it, vi } from "vitest";
import { setInodeParent } from "../../src/format/inode.ts";
import { editInode } from "../../src/ops/inodes.ts";
import { RenameFlag } from "../../src/posix/requests.ts";
import { PfsState } from "../../src/tree/pfs-state.ts";
import { BlockStore } from "../../src/tree/store.ts";
import { MIB, SimulatedVolume } from "../model/simulated-volume.ts";
import { refusal } from "../unit/errno.ts";

const ROOT = 1;
const CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };
const DEPTH = 3000;
const name = (text: string): Uint8Array => new TextEncoder().encode(text);

const formatted = (seed: number): Promise<SimulatedVolume> => SimulatedVolume.format(seed, [24 * MIB]);

async function directory({ fs }: SimulatedVolume, text: string, parent = ROOT): Promise<number> {
  return (await fs.makeDirectory(parent, name(text), 0o755, CALLER)).ino;
}

/** Directories, each in the one before it; the first is "top" in the root folder. */
async function chain(made: SimulatedVolume, depth: number): Promise<number[]> {
  const inos = [await directory(made, "top")];
  while (inos.length < depth) inos.push(await directory(made, "x", inos.at(-1)));
  return inos;
}

/** A volume with nothing in memory, the chain on it, and a folder "moved" beside that. */
async function deep(seed: number): Promise<{ real: SimulatedVolume; inos: number[]; bottom: number }> {
  const made = await formatted(seed);
  const inos = await chain(made, DEPTH);
  await directory(made, "moved");
  return { real: await made.remount(), inos, bottom: inos.at(-1) as number };
}

const move = (
  { fs }: SimulatedVolume,
  from: string,
  parent: number,
  to: string,
  newParent: number,
  flags = 0,
): unknown => fs.rename(parent, name(from), newParent, name(to), flags, CALLER);

const parentOf = async ({ fs }: SimulatedVolume, ino: number): Promise<number | undefined> =>
  (await fs.lookup(ino, name("..")))?.ino;

/** How often an inode was looked for, and how many blocks one request held at most. */
function watch(): { readonly lookups: number; readonly heldBlocks: number } {
  const pfs = vi.spyOn(PfsState.prototype, "pfs");
  const { load } = BlockStore.prototype;
  let heldBlocks = 0;
  vi.spyOn(BlockStore.prototype, "load").mockImplementation(async function (this: BlockStore, pinned) {
    await load.call(this, pinned);
    heldBlocks = Math.max(heldBlocks, pinned.length);
  });
  return {
    get lookups() {
      return pfs.mock.calls.length;
    },
    get heldBlocks() {
      return heldBlocks;
    },
  };
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe("a directory moved to a deep place", () => {
  it("takes work in proportion to the depth, and holds few blocks", async () => {
    const { real, bottom } = await deep(301);
    const watched = watch();
    await move(real, "moved", ROOT, "moved", bottom);
    expect(watched.lookups).toBeLessThan(3 * DEPTH);
    expect(watched.heldBlocks).toBeGreaterThan(0);
    expect(watched.heldBlocks).toBeLessThan(DEPTH / 4);
    const moved = await real.fs.lookup(bottom, name("moved"));
    expect(await parentOf(real, moved?.ino as number)).toBe(bottom);
  });

  it("costs whoever takes over nothing of that", async () => {
    const { real, bottom } = await deep(302);
    await move(real, "moved", ROOT, "moved", bottom);
    const watched = watch();
    const next = await real.takeOver();
    expect(watched.lookups).toBeLessThan(100);
    expect(await next.fs.lookup(bottom, name("moved"))).toBeDefined();
  });

  it("is refused below itself, also as the other half of an exchange", async () => {
    const { real, inos, bottom } = await deep(303);
    await directory(real, "end", bottom);
    expect(await refusal(() => move(real, "top", ROOT, "top", bottom))).toBe("EINVAL");
    expect(await refusal(() => move(real, "top", ROOT, "end", bottom, RenameFlag.EXCHANGE))).toBe("EINVAL");
    expect(await refusal(() => move(real, "end", bottom, "top", ROOT, RenameFlag.EXCHANGE))).toBe("EINVAL");
    expect(await refusal(() => move(real, "end", bottom, "top", ROOT))).toBe("ENOTEMPTY");
    expect(await parentOf(real, inos[0] as number)).toBe(ROOT);
  });
});

describe("moves between directories", () => {
  it("are answered at once when all is in memory", async () => {
    const made = await formatted(304);
    const inos = await chain(made, 100);
    await directory(made, "moved");
    await made.fs.makeNode(ROOT, name("file"), 0o100644, 0, 0, CALLER);
    expect(move(made, "moved", ROOT, "moved", inos[99] as number)).toBeUndefined();
    expect(move(made, "file", ROOT, "file", inos[99] as number)).toBeUndefined();
  });

  it("make no circle when two are asked for at once", async () => {
    const made = await formatted(305);
    const [left, right] = [await directory(made, "left"), await directory(made, "right")];
    const [deepLeft, deepRight] = [await directory(made, "l", left), await directory(made, "r", right)];
    const real = await made.remount();
    const outcomes = await Promise.allSettled([
      move(real, "left", ROOT, "left", deepRight),
      move(real, "right", ROOT, "right", deepLeft),
    ]);
    expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(outcomes[1]).toMatchObject({ reason: { code: "EINVAL" } });
    expect([await parentOf(real, left), await parentOf(real, right)]).toEqual([deepRight, ROOT]);
  });

  it("go on after one that failed", async () => {
    const made = await formatted(306);
    const [left, right] = [await directory(made, "left"), await directory(made, "right")];
    const real = await made.remount();
    const outcomes = await Promise.allSettled([
      move(real, "none", ROOT, "x", right),
      move(real, "left", ROOT, "left", right),
    ]);
    expect(outcomes).toMatchObject([{ reason: { code: "ENOENT" } }, { status: "fulfilled" }]);
    expect(await parentOf(real, left)).toBe(right);
  });

  it.each([1, 2, 3, 700])(
    "are refused where directories above lie in a circle of %d on media (I12)",
    async (length) => {
      const made = await formatted(307);
      const inos = await chain(made, 1000);
      await directory(made, "moved");
      const bottom = inos.at(-1) as number;
      await made.volume.maintain((state) => {
        setInodeParent(editInode(state, inos[100] as number).view, inos[99 + length] as number);
      });
      const real = await made.remount();
      expect(await refusal(() => move(real, "moved", ROOT, "moved", bottom))).toBe("ELOOP");
    },
  );
});
