// Volumes whose directories have copies=K, and what can be asked of them: everything is there with all copies at hand; with
// some away, names and sizes are, and file data is right or EIO, never wrong.

import { expect } from "vitest";
import { FsError } from "../../src/base/errno.ts";
import type { FileSystem } from "../../src/posix/filesystem.ts";
import { describeFileSystem } from "../model/digest.ts";
import { type Images, mount } from "./copies-scene.ts";

const ROOT_CALLER = { uid: 0, gid: 0, pid: 1, umask: 0o022 };

export async function inodeAt(fs: FileSystem, name: string): Promise<number> {
  const found = await fs.lookup(1, Buffer.from(name));
  if (found === undefined) throw new FsError("ENOENT", name);
  fs.forget(found.ino, 1);
  return found.ino;
}

/** Sets copies=K on the root directory ("") or something in it. */
export async function setCopies(fs: FileSystem, name: string, copies: number | "all"): Promise<void> {
  const ino = name === "" ? 1 : await inodeAt(fs, name);
  await fs.setXattr(ino, "user.h2ts.copies", Buffer.from(String(copies)), 0, ROOT_CALLER, false);
}

/** Reads everything; where no copy at hand has the data, zeros stand for it, and the inode is noted. */
async function describeWithLosses(fs: FileSystem): Promise<{ lines: string[]; lost: Set<number> }> {
  const lost = new Set<number>();
  const read: FileSystem["read"] = async (ino, offset, length) => {
    try {
      return await fs.read(ino, offset, length);
    } catch (error) {
      if (!(error instanceof FsError) || error.code !== "EIO") throw error;
      lost.add(ino);
      return { pieces: [new Uint8Array(length)], lengthBytes: length };
    }
  };
  const tolerant = new Proxy(fs, {
    get: (target, key) => {
      if (key === "read") return read;
      const value: unknown = Reflect.get(target, key);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
  return { lines: await describeFileSystem(tolerant), lost };
}

const HASH = / [0-9a-f]{16}( |$)/;

/** Holds what the images give against `tree`; returns how many files are not whole. */
export async function rightOrGone(seed: number, images: Images, tree: string): Promise<number> {
  const { fs, volume } = await mount(seed, images, { readOnly: true, degraded: true, start: false });
  const { lines, lost } = await describeWithLosses(fs);
  await volume.close();
  if (lost.size === 0) expect(lines.join("\n")).toBe(tree);
  expect(lines.map((line) => line.replace(HASH, " ")).join("\n")).toBe(
    tree
      .split("\n")
      .map((line) => line.replace(HASH, " "))
      .join("\n"),
  );
  return lost.size;
}
