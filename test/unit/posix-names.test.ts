// Names: the errno Linux gives for each mistake, link counts and times, rename in all its forms, files without names.

import { beforeEach, describe, expect, it } from "vitest";
import { nameKey } from "../../src/format/dirent.ts";
import { type AttributesWanted, type Caller, RenameFlag } from "../../src/posix/requests.ts";
import { MemoryVolume } from "../property/posix-volume.ts";
import { refusal } from "./errno.ts";

const ROOT = 1;
const CALLER: Caller = { uid: 1000, gid: 1000, pid: 1, umask: 0o022 };
const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");

let made: MemoryVolume;
beforeEach(async () => {
  made = await MemoryVolume.format({ sizesMib: [32] });
});

async function file(name: string, parent = ROOT): Promise<number> {
  return (await made.fs.makeNode(parent, bytes(name), 0o100644, 0, 0, CALLER)).ino;
}

async function directory(name: string, parent = ROOT): Promise<number> {
  return (await made.fs.makeDirectory(parent, bytes(name), 0o755, CALLER)).ino;
}

async function inoOf(name: string, parent = ROOT): Promise<number | undefined> {
  return (await made.fs.lookup(parent, bytes(name)))?.ino;
}

async function links(ino: number): Promise<number> {
  return (await made.fs.getAttributes(ino)).nlink;
}

const rename = (name: string, newName: string, flags = 0, parent = ROOT, newParent = ROOT): unknown =>
  made.fs.rename(parent, bytes(name), newParent, bytes(newName), flags, CALLER);

describe("creation", () => {
  it("refuses what can't be a name", async () => {
    const plain = await file("plain");
    expect(await refusal(() => file("n".repeat(256)))).toBe("ENAMETOOLONG");
    expect(await refusal(() => file("plain"))).toBe("EEXIST");
    expect(await refusal(() => directory("plain"))).toBe("EEXIST");
    expect(await refusal(() => file("below", plain))).toBe("ENOTDIR");
    expect(await refusal(() => file("a/b"))).toBe("EINVAL");
    expect(await refusal(() => file("nobody", 4711))).toBe("ESTALE");
    expect(await refusal(() => made.fs.lookup(plain, bytes("x")))).toBe("ENOTDIR");
    expect(await refusal(() => made.fs.makeSymlink(ROOT, bytes("s"), bytes("t".repeat(4096)), CALLER))).toBe(
      "ENAMETOOLONG",
    );
  });

  it("applies the umask, the caller's ids, and what a setgid directory hands down", async () => {
    const plain = await made.fs.makeNode(ROOT, bytes("f"), 0o104777, 0, 0, CALLER);
    expect(plain.mode).toBe(0o104755);
    expect([plain.uid, plain.gid]).toEqual([1000, 1000]);
    const shared = await made.fs.makeDirectory(ROOT, bytes("shared"), 0o775, CALLER);
    await made.fs.setAttributes(shared.ino, { gid: 55, mode: 0o2775 });
    const below = await made.fs.makeNode(shared.ino, bytes("f"), 0o100666, 0, 0, CALLER);
    expect([below.gid, below.mode]).toEqual([55, 0o100644]);
    const deeper = await made.fs.makeDirectory(shared.ino, bytes("d"), 0o777, CALLER);
    expect([deeper.gid, deeper.mode]).toEqual([55, 0o042755]);
  });

  it("keeps names of every length and byte", async () => {
    const names = [1, 79, 80, 81, 254, 255].map((length) => "x".repeat(length));
    const all = Array.from({ length: 255 }, (_, i) => String.fromCharCode(i + 1)).filter((c) => c !== "/" && c !== ".");
    names.push(all.join(""), "...", "\xff\xfe", " ");
    for (const name of names) await file(name);
    await made.remount();
    for (const name of names) expect(await inoOf(name)).toBeDefined();
    for (const name of names) await made.fs.unlink(ROOT, bytes(name), CALLER);
    for (const name of names) expect(await inoOf(name)).toBeUndefined();
  });
});

describe("link counts", () => {
  it("follow links, subdirectories and removals", async () => {
    const ino = await file("a");
    const inner = await directory("d");
    expect(await links(ROOT)).toBe(3);
    await made.fs.link(ino, inner, bytes("b"));
    expect(await links(ino)).toBe(2);
    expect(await refusal(() => made.fs.link(inner, ROOT, bytes("x")))).toBe("EPERM");
    expect(await refusal(() => made.fs.link(ino, ROOT, bytes("a")))).toBe("EEXIST");
    expect(await refusal(() => made.fs.unlink(ROOT, bytes("d"), CALLER))).toBe("EISDIR");
    expect(await refusal(() => made.fs.removeDirectory(ROOT, bytes("a"), CALLER))).toBe("ENOTDIR");
    expect(await refusal(() => made.fs.removeDirectory(ROOT, bytes("d"), CALLER))).toBe("ENOTEMPTY");
    await made.fs.unlink(inner, bytes("b"), CALLER);
    await made.fs.removeDirectory(ROOT, bytes("d"), CALLER);
    expect(await links(ROOT)).toBe(2);
    expect(await links(inner)).toBe(0);
    expect(await refusal(() => file("late", inner))).toBe("ENOENT");
  });

  it("move mtime and ctime of the directory, ctime of the file", async () => {
    const ino = await file("a");
    await made.clock.advance(1000);
    const { mtime } = await made.fs.getAttributes(ino);
    await made.fs.link(ino, ROOT, bytes("b"));
    const linked = await made.fs.getAttributes(ino);
    const root = await made.fs.getAttributes(ROOT);
    expect(linked.mtime).toEqual(mtime);
    expect(linked.ctime).toEqual(root.mtime);
    expect(linked.ctime).toEqual(root.ctime);
    expect(linked.ctime).not.toEqual(mtime);
  });
});

describe("rename", () => {
  it("replaces what may be replaced", async () => {
    const a = await file("a");
    const b = await file("b");
    await rename("a", "b");
    expect(await inoOf("b")).toBe(a);
    expect(await inoOf("a")).toBeUndefined();
    expect(await links(b)).toBe(0);
    const d = await directory("d");
    await directory("e");
    await rename("d", "e");
    expect(await inoOf("e")).toBe(d);
    expect(await links(ROOT)).toBe(3);
  });

  it("refuses the rest with Linux's errno", async () => {
    await file("f");
    await file("g");
    const d = await directory("d");
    const inner = await directory("inner", d);
    await directory("empty");
    expect(await refusal(() => rename("none", "x"))).toBe("ENOENT");
    expect(await refusal(() => rename("f", "d"))).toBe("EISDIR");
    expect(await refusal(() => rename("d", "f"))).toBe("ENOTDIR");
    expect(await refusal(() => rename("empty", "d"))).toBe("ENOTEMPTY");
    expect(await refusal(() => rename("d", "x", 0, ROOT, inner))).toBe("EINVAL");
    expect(await refusal(() => rename("d", "x", 0, ROOT, d))).toBe("EINVAL");
    expect(await refusal(() => rename("inner", "d", 0, d, ROOT))).toBe("ENOTEMPTY");
    expect(await refusal(() => rename("f", "g", RenameFlag.NOREPLACE))).toBe("EEXIST");
    expect(await refusal(() => rename("f", "none", RenameFlag.EXCHANGE))).toBe("ENOENT");
    expect(await refusal(() => rename("f", "g", RenameFlag.EXCHANGE | RenameFlag.NOREPLACE))).toBe("EINVAL");
    expect(await refusal(() => rename("f", "g", 4))).toBe("EINVAL");
    expect(await refusal(() => rename("f", "n".repeat(256)))).toBe("ENAMETOOLONG");
    expect(await refusal(() => rename("inner", "d", RenameFlag.EXCHANGE, d, ROOT))).toBe("EINVAL");
  });

  it("leaves two names of one file alone", async () => {
    const ino = await file("a");
    await made.fs.link(ino, ROOT, bytes("b"));
    await rename("a", "b");
    expect([await inoOf("a"), await inoOf("b"), await links(ino)]).toEqual([ino, ino, 2]);
  });

  it("exchanges a directory and a file across directories", async () => {
    const [left, right] = [await directory("left"), await directory("right")];
    const inner = await directory("x", left);
    const ino = await file("y", right);
    await rename("x", "y", RenameFlag.EXCHANGE, left, right);
    expect([await inoOf("x", left), await inoOf("y", right)]).toEqual([ino, inner]);
    expect([await links(left), await links(right)]).toEqual([2, 3]);
    expect((await made.fs.lookup(inner, bytes("..")))?.ino).toBe(right);
    await made.remount();
    expect(await made.findings()).toEqual([]);
  });
});

describe("files without names", () => {
  it("stay until they are forgotten, and give their space back then", async () => {
    const free = made.volume.statfs().freeKib;
    const ino = await file("a");
    await made.fs.write(ino, 0, new Uint8Array(1_000_000).fill(1), {});
    await made.fs.unlink(ROOT, bytes("a"), CALLER);
    expect((await made.fs.read(ino, 999_999, 10)).lengthBytes).toBe(1);
    await made.fs.write(ino, 0, bytes("still here"), {});
    made.fs.forget(ino, 1);
    await made.fs.settled();
    expect(await refusal(() => made.fs.getAttributes(ino))).toBe("ESTALE");
    await made.fs.sync();
    expect(Math.abs(free - made.volume.statfs().freeKib)).toBeLessThan(64);
  });

  it("are removed by the next mount after a crash", async () => {
    const ino = await file("a");
    await made.fs.write(ino, 0, new Uint8Array(100_000).fill(1), {});
    await made.fs.unlink(ROOT, bytes("a"), CALLER);
    await made.fs.sync();
    await made.crash();
    expect(await refusal(() => made.fs.getAttributes(ino))).toBe("ESTALE");
    await made.fs.sync();
    expect(await made.findings()).toEqual([]);
  });

  it("can be given a name", async () => {
    const temporary = await made.fs.makeTemporary(ROOT, 0o600, CALLER);
    expect(temporary.nlink).toBe(0);
    await made.fs.write(temporary.ino, 0, bytes("content"), {});
    await made.fs.link(temporary.ino, ROOT, bytes("named"));
    made.fs.forget(temporary.ino, 2);
    await made.remount();
    expect(await inoOf("named")).toBe(temporary.ino);
    expect(await made.findings()).toEqual([]);
  });
});

describe("names of equal hash", () => {
  // Found by trying fifty million names.
  const [first, second] = ["m7uge9", "m9yugc"] as const;

  it("are told apart, whichever goes first", async () => {
    expect(nameKey(bytes(first))).toBe(nameKey(bytes(second)));
    const [a, b] = [await file(first), await file(second)];
    expect([await inoOf(first), await inoOf(second)]).toEqual([a, b]);
    await made.fs.unlink(ROOT, bytes(first), CALLER);
    expect([await inoOf(first), await inoOf(second)]).toEqual([undefined, b]);
    expect(await refusal(() => file(second))).toBe("EEXIST");
    await rename(second, first);
    expect([await inoOf(first), await inoOf(second)]).toEqual([b, undefined]);
    const c = await file(second);
    await rename(first, second, RenameFlag.EXCHANGE);
    expect([await inoOf(first), await inoOf(second)]).toEqual([c, b]);
    await made.remount();
    expect(await made.findings()).toEqual([]);
  });
});

describe("large directories", () => {
  it("list every entry once, from any cookie, while entries go", async () => {
    const count = 3000;
    for (let i = 0; i < count; i++) await file(`file-${i}`);
    await made.remount();
    const seen = new Set<string>();
    for (let cookie = 0, more = true; more; ) {
      const part: { name: string; cookie: number }[] = [];
      await made.fs.readDirectory(
        ROOT,
        cookie,
        "all",
        () => (part.length = 0),
        (entry, attributes) => {
          if (part.length === 100) return false;
          expect(attributes?.ino ?? entry.ino).toBe(entry.ino);
          part.push({ name: Buffer.from(entry.name).toString(), cookie: entry.cookie });
          return true;
        },
      );
      more = part.length > 0;
      for (const entry of part) {
        expect(seen.has(entry.name)).toBe(false);
        seen.add(entry.name);
        cookie = entry.cookie;
        if (entry.name.startsWith("file")) await made.fs.unlink(ROOT, bytes(entry.name), CALLER);
      }
    }
    expect(seen.size).toBe(count + 2);
    expect((await made.fs.getAttributes(ROOT)).size).toBe(0);
    // Every entry listed with attributes was counted: closing gives all of them back.
    await made.remount();
    expect(made.volume.statfs().inodeCount).toBe(1);
    expect(await made.findings()).toEqual([]);
  });

  it("come without attributes from the first inode on that is not in memory, where only those at hand are wanted", async () => {
    for (let i = 0; i < 300; i++) await file(`file-${i}`);
    const list = async (wanted: AttributesWanted): Promise<{ names: number; attributes: number }> => {
      const counts = { names: 0, attributes: 0 };
      await made.fs.readDirectory(
        ROOT,
        0,
        wanted,
        () => Object.assign(counts, { names: 0, attributes: 0 }),
        (_, attributes) => {
          counts.names++;
          if (attributes !== undefined) counts.attributes++;
          return true;
        },
      );
      return counts;
    };
    expect(await list("at-hand")).toEqual({ names: 302, attributes: 300 });
    await made.remount();
    expect(await list("at-hand")).toEqual({ names: 302, attributes: 0 });
    expect(await list("all")).toEqual({ names: 302, attributes: 300 });
    expect(await list("at-hand")).toEqual({ names: 302, attributes: 300 });
    expect(await list("none")).toEqual({ names: 302, attributes: 0 });
  });
});
