// Where the next data, or the next hole, of a file is: exact by blocks. Data is one step away. A hole may lie behind any number
// of blocks, so the way there is gone part by part, with other requests in between and nothing kept in memory behind it.
// What changes meanwhile is as if it had been changed before or after: at the place found there was a hole when it was found.

import { setImmediate as turn } from "node:timers/promises";
import { FsError } from "../base/errno.ts";
import { after, type Eventually } from "../base/eventually.ts";
import { InodeFlag, inodeFlags, inodeSize } from "../format/inode.ts";
import { dataRoot, extentFrom } from "../ops/file-data.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { leavesAhead } from "../tree/read-ahead.ts";
import { regularOf } from "./reading.ts";
import { Seek } from "./requests.ts";

/** Blocks of a file that one part of the way passes. */
const EXTENTS_AT_ONCE = 1024;
/** Leaves asked for together: those of this part of the way, and of the next one. */
const LEAVES_AHEAD = 16;

type View = <T>(body: (state: PfsState) => T) => Eventually<T>;

/**
 * First offset at or after `offset` that has data, or none, in a regular file. Its end counts as a hole. Throws FsError ENXIO
 * from the end on, and where no data follows; EINVAL for any other `whence`.
 */
export function seekFile(view: View, ino: number, offset: number, whence: number): Eventually<number> {
  if (whence === Seek.DATA) return view((state) => nextData(state, ino, offset));
  if (whence !== Seek.HOLE) throw new FsError("EINVAL", `seek of unknown kind ${whence}`);
  const way = new WayToHole(ino, offset);
  return after(view(way.part()), (found) => found ?? goOn(view, way));
}

async function goOn(view: View, way: WayToHole): Promise<number> {
  for (;;) {
    await turn();
    const found = await view(way.part());
    if (found !== undefined) return found;
  }
}

function nextData(state: PfsState, ino: number, offset: number): number {
  const inode = regularOf(state, ino);
  const size = inodeSize(inode.view);
  if (offset < 0 || offset >= size) throw new FsError("ENXIO");
  if ((inodeFlags(inode.view) & InodeFlag.INLINE) !== 0) return offset;
  const extent = extentFrom(state.store, dataRoot(inode), offset);
  if (extent === undefined || extent.key >= size) throw new FsError("ENXIO");
  return Math.max(offset, extent.key);
}

/** From an offset over the blocks that follow each other to where none does. */
class WayToHole {
  readonly #ino: number;
  readonly #from: number;
  /** All from `#from` to here had data when it was passed. */
  #at: number;

  constructor(ino: number, offset: number) {
    this.#ino = ino;
    this.#from = offset;
    this.#at = offset;
  }

  /** A part of the way, for one view; undefined when there is more of it. Run again after a miss, it goes on from where it was. */
  part(): (state: PfsState) => number | undefined {
    let left = EXTENTS_AT_ONCE;
    return (state) => {
      const inode = regularOf(state, this.#ino);
      const size = inodeSize(inode.view);
      if (this.#from < 0 || this.#from >= size) throw new FsError("ENXIO");
      if ((inodeFlags(inode.view) & InodeFlag.INLINE) !== 0) return size;
      const root = dataRoot(inode);
      // Not at the beginning: most holes are near.
      if (this.#at > this.#from) leavesAhead(state.store, root, this.#at, LEAVES_AHEAD);
      for (; left > 0; left--) {
        if (this.#at >= size) return size;
        const extent = extentFrom(state.store, root, this.#at);
        if (extent === undefined || extent.key > this.#at) return this.#at;
        this.#at = extent.end;
      }
      return undefined;
    };
  }
}
