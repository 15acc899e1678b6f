// Volumes whose directories have copies=K, and what can be asked of them: everything is there with all copies at hand; with
// some away, names and sizes are, and file data is right or EIO, never wrong.

import { expect } from "vitest";
import { FsError } from "../../src/base/errno.ts";
import type { FileSystem } from "../../src/posix/filesystem.ts";
import type { OpenOptions } from "../../src/volume/open.ts";
import { describeFileSystem, UNREADABLE } from "../model/digest.ts";
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

/** The tree as text, read from the images given: UNREADABLE stands for what lies on others alone. */
export async function lossyTreeOf(seed: number, images: Images, options: Partial<OpenOptions>): Promise<string> {
  const { fs, volume } = await mount(seed, images, { ...options, readOnly: true, start: false });
  const lines = await describeFileSystem(fs, true);
  await volume.close();
  return lines.join("\n");
}

/** True when `lossy` is `tree` but for the content of files that it could not read. */
export function isPartOf(lossy: string, tree: string): boolean {
  const [some, all] = [lossy.split("\n"), tree.split("\n")];
  return some.length === all.length && some.every((line, i) => line === all[i] || isLineOf(line, all[i] as string));
}

const HASH = /( size \d+) [0-9a-f]{16}( |$)/;

const isLineOf = (lossy: string, line: string): boolean =>
  lossy.includes(UNREADABLE) && lossy === line.replace(HASH, `$1 ${UNREADABLE}$2`);

/** Holds what the images give against `tree`; returns how many names have a file that is not whole. */
export async function rightOrGone(seed: number, images: Images, tree: string): Promise<number> {
  const lossy = await lossyTreeOf(seed, images, { degraded: true });
  if (!isPartOf(lossy, tree)) expect(lossy).toBe(tree);
  return lossy.split(UNREADABLE).length - 1;
}
