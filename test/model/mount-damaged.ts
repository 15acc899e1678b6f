// Mounts an image that may be damaged, as a daemon would, and uses it: refusals are fine, anything else is a bug.

import { expect } from "vitest";
import type { Clock } from "../../src/base/clock.ts";
import { FsError } from "../../src/base/errno.ts";
import { CopiesError, CorruptBlockError } from "../../src/copies/errors.ts";
import { FormatError } from "../../src/format/format-error.ts";
import { FileSystem } from "../../src/posix/filesystem.ts";
import { CorruptBlockStructure } from "../../src/tree/miss.ts";
import { openVolume } from "../../src/volume/open.ts";
import type { VolumeImage } from "../../fixtures/corrupt/image-builder.ts";
import { memoryCopies } from "../../fixtures/corrupt/memory-copies.ts";
import { readEverything, tolerant } from "./read-everything.ts";

const REFUSALS = [FsError, FormatError, CopiesError, CorruptBlockError, CorruptBlockStructure];

/** True for what says that the media are wrong, however deep it is wrapped. */
export function isRefusal(error: unknown): boolean {
  if (REFUSALS.some((kind) => error instanceof kind)) return true;
  return error instanceof Error && error.cause !== undefined && isRefusal(error.cause);
}

/** Mounts and reads; refusals are fine, anything else is a bug. */
export async function mountAndRead(volume: VolumeImage, clock: Clock): Promise<void> {
  try {
    const opened = await openVolume(memoryCopies(volume), { clock, readOnly: true, commitMs: 0 });
    await readEverything(new FileSystem(opened, clock));
    expect(opened.failed, opened.readOnly).toBe(false);
    await opened.close();
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
}

/** Mounts for writing, makes, links, writes and removes things; the volume may turn read-only, and no more. */
export async function mountAndChange(volume: VolumeImage, clock: Clock): Promise<void> {
  const caller = { uid: 0, gid: 0, pid: 1, umask: 0 };
  const name = (text: string): Uint8Array => new TextEncoder().encode(text);
  try {
    const opened = await openVolume(memoryCopies(volume, false), { clock, commitMs: 0 });
    const fs = new FileSystem(opened, clock);
    await tolerant(async () => {
      const made = await fs.makeNode(1, name("made"), 0o100644, 0, 0, caller);
      await fs.write(made.ino, 0, new Uint8Array(100_000), {});
      await fs.link(made.ino, 1, name("linked"));
    });
    for (const ino of [2, 3, 7]) await tolerant(() => Promise.resolve(fs.write(ino, 100, new Uint8Array(5000), {})));
    await tolerant(() => Promise.resolve(fs.rename(1, name("blocks"), 4, name("moved"), 0, caller)));
    await tolerant(() => fs.sync());
    for (const text of ["inline", "sparse", "symlink", "made", "linked", "fifo"]) {
      await tolerant(() => Promise.resolve(fs.unlink(1, name(text), caller)));
    }
    await tolerant(() => fs.sync());
    await opened.close();
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
}
