// Which inodes wait to be given back or trimmed: a mount finishes them, a process that takes over goes on with them. Where no copy can read
// the marks that say so, the rest is left for fsck.h2ts: one bad block must neither keep a volume from being mounted nor end what goes on.

import { FsError } from "../base/errno.ts";
import { nextPending } from "../ops/inodes.ts";
import type { Volume } from "./volume.ts";

/** In order, each looked for when the one before it was dealt with. `onNote` is told where the marks can't be read. */
export async function* pendingInodes(
  volume: Pick<Volume, "view" | "failed">,
  onNote: (line: string) => void,
): AsyncGenerator<number, void, undefined> {
  for (let from = 0; ; ) {
    let ino: number | undefined;
    try {
      ino = await volume.view((state) => nextPending(state, from));
    } catch (error) {
      if (!isDamage(error, volume)) throw error;
      onNote(
        `removed files from inode ${from} on can't be listed (${error.message}); their space is left for fsck.h2ts`,
      );
      return;
    }
    if (ino === undefined) return;
    yield ino;
    from = ino + 1;
  }
}

/** Whether it is about what is on media there, and nothing else is wrong. */
export function isDamage(error: unknown, volume: Pick<Volume, "failed">): error is FsError {
  return error instanceof FsError && error.code === "EIO" && !volume.failed;
}
