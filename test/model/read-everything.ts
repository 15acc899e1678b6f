// Reads whatever can be reached in a filesystem that may be damaged. Requests may fail with FsError and nothing else;
// a directory that contains itself is gone through once.

import { FsError } from "../../src/base/errno.ts";
import type { FileSystemRequests } from "../../src/posix/requests.ts";

const READ_BYTES = 1 << 20;
const INODES_MAX = 1000;

/** Returns how many inodes were looked at. Throws what is no FsError. */
export async function readEverything(fs: FileSystemRequests): Promise<number> {
  const seen = new Set<number>();
  const pending = [1];
  for (let ino = pending.pop(); ino !== undefined && seen.size < INODES_MAX; ino = pending.pop()) {
    if (seen.has(ino)) continue;
    seen.add(ino);
    const here = ino;
    await tolerant(() => readOne(fs, here, pending));
  }
  await tolerant(() => Promise.resolve(fs.statistics()));
  return seen.size;
}

async function readOne(fs: FileSystemRequests, ino: number, pending: number[]): Promise<void> {
  const { size, mode } = await fs.getAttributes(ino);
  await tolerant(async () => {
    for (const name of await fs.listXattrs(ino)) await fs.getXattr(ino, name);
  });
  const names: Uint8Array[] = [];
  const isDirectory = (mode & 0o170000) === 0o040000;
  if (isDirectory) {
    await tolerant(async () => {
      await fs.readDirectory(
        ino,
        0,
        "none",
        () => (names.length = 0),
        (entry) => {
          names.push(entry.name.slice());
          pending.push(entry.ino);
          return names.length < INODES_MAX;
        },
      );
    });
    for (const name of names) await tolerant(() => Promise.resolve(fs.lookup(ino, name)));
    return;
  }
  await tolerant(() => Promise.resolve(fs.readlink(ino)));
  for (const at of [0, Math.max(0, size - READ_BYTES)]) {
    await tolerant(() => Promise.resolve(fs.read(ino, at, READ_BYTES)));
  }
}

/** Runs `body` and lets an FsError pass. */
export async function tolerant(body: () => Promise<unknown>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
  }
}
