// The whole of a filesystem as lines of text, read through its requests: two filesystems with the same lines hold the
// same names, kinds, owners, modes, links, attributes and bytes. Times are left out: the model keeps its own.

import xxhash from "xxhash-wasm";
import { FsError } from "../../src/base/errno.ts";
import type { Attributes, FileSystemRequests } from "../../src/posix/requests.ts";

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const READ_BYTES = 1 << 20;
const ROOT = 1;

const { create64 } = await xxhash();

/** Stands for the content of a file that is EIO. */
export const UNREADABLE = "unreadable";

/** `lossy`: a file that can't be read is no error, but has UNREADABLE content. */
export async function describeFileSystem(fs: FileSystemRequests, lossy = false): Promise<string[]> {
  const lines: string[] = [];
  await describe(fs, ROOT, "/", lossy, lines);
  return lines;
}

async function describe(
  fs: FileSystemRequests,
  ino: number,
  path: string,
  lossy: boolean,
  lines: string[],
): Promise<void> {
  const attributes = await fs.getAttributes(ino);
  lines.push(`${path} ${await detail(fs, ino, attributes, lossy)}`);
  if ((attributes.mode & S_IFMT) !== S_IFDIR) return;
  const entries: { name: string; ino: number }[] = [];
  await fs.readDirectory(
    ino,
    0,
    "none",
    () => (entries.length = 0),
    (entry) => {
      const name = Buffer.from(entry.name).toString("latin1");
      if (name !== "." && name !== "..") entries.push({ name, ino: entry.ino });
      return true;
    },
  );
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const entry of entries) await describe(fs, entry.ino, `${path}${entry.name}/`, lossy, lines);
}

async function detail(fs: FileSystemRequests, ino: number, attributes: Attributes, lossy: boolean): Promise<string> {
  const { mode, uid, gid, nlink } = attributes;
  const parts = [mode.toString(8), `${uid}:${gid}`, `links ${nlink}`];
  if ((mode & S_IFMT) === S_IFREG)
    parts.push(`size ${attributes.size}`, await content(fs, ino, attributes.size, lossy));
  if ((mode & S_IFMT) === S_IFLNK) parts.push(`-> ${Buffer.from(await fs.readlink(ino)).toString("latin1")}`);
  for (const name of [...(await fs.listXattrs(ino))].sort()) {
    parts.push(`${name}=${Buffer.from((await fs.getXattr(ino, name)) ?? []).toString("hex")}`);
  }
  return parts.join(" ");
}

async function content(fs: FileSystemRequests, ino: number, size: number, lossy: boolean): Promise<string> {
  try {
    return await contentHash(fs, ino, size);
  } catch (error) {
    if (lossy && error instanceof FsError && error.code === "EIO") return UNREADABLE;
    throw error;
  }
}

async function contentHash(fs: FileSystemRequests, ino: number, size: number): Promise<string> {
  const hash = create64();
  for (let at = 0; at < size; at += READ_BYTES) {
    const { pieces } = await fs.read(ino, at, Math.min(READ_BYTES, size - at));
    for (const piece of pieces) hash.update(piece);
  }
  return hash.digest().toString(16).padStart(16, "0");
}
