// Requests on ranges of a file that may be too large for one operation: fallocate and copy_file_range, each carried out
// as a chain of bounded operations. Between two of them other requests have their turn: an `await` of what is in memory gives none.

import { setImmediate as turn } from "node:timers/promises";
import { FsError } from "../base/errno.ts";
import type { Timespec } from "../base/clock.ts";
import type { Eventually } from "../base/eventually.ts";
import { FILE_SIZE_MAX, KIB } from "../format/geometry.ts";
import { ZEROS } from "../ops/file-data.ts";
import type { Operation, OperationResult } from "../ops/operation.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { allocated, joined, readFile } from "./reading.ts";
import { FallocateMode } from "./requests.ts";

/** What a chain of operations needs of the filesystem. */
export interface RangeContext {
  view<T>(body: (state: PfsState) => T): Eventually<T>;
  apply(operation: Operation): Eventually<OperationResult>;
  now(): Timespec;
  freeKib(): number;
}

const COPY_STEP_BYTES = 1024 * 1024;
/** One copy_file_range copies at most this much; the caller asks again for the rest. */
const COPY_MAX_BYTES = 16 * 1024 * 1024;
const KNOWN_MODES: ReadonlySet<number> = new Set([
  0,
  FallocateMode.KEEP_SIZE,
  FallocateMode.PUNCH_HOLE | FallocateMode.KEEP_SIZE,
  FallocateMode.ZERO_RANGE,
  FallocateMode.ZERO_RANGE | FallocateMode.KEEP_SIZE,
]);

/**
 * fallocate(2). `keepPrivileges`: the file stays setuid and setgid, as it does for root. Under copy-on-write no space can be set aside for
 * later overwrites: allocating checks that there is room now and makes the file longer. Punching and zeroing free blocks.
 */
export async function fallocate(
  context: RangeContext,
  ino: number,
  offset: number,
  lengthBytes: number,
  mode: number,
  keepPrivileges: boolean,
): Promise<void> {
  if (!KNOWN_MODES.has(mode)) throw new FsError("EOPNOTSUPP", `fallocate mode ${mode}`);
  if (offset < 0 || lengthBytes <= 0) throw new FsError("EINVAL");
  const end = offset + lengthBytes;
  if (end > FILE_SIZE_MAX) throw new FsError("EFBIG");
  const keepSize = (mode & FallocateMode.KEEP_SIZE) !== 0;
  const clearing = (mode & (FallocateMode.PUNCH_HOLE | FallocateMode.ZERO_RANGE)) !== 0;
  if (clearing) await punchRange(context, ino, offset, end, keepPrivileges);
  else if (lengthBytes / KIB > context.freeKib()) await requireRoom(context, ino, offset, end);
  if (clearing && keepSize) return;
  // To a size of 0 or more: only the times change.
  await context.apply({ op: "extend", ino, size: keepSize ? 0 : end, time: context.now(), keepPrivileges });
}

/** Refuses what would not fit besides the blocks that are in the range already. */
async function requireRoom(context: RangeContext, ino: number, offset: number, end: number): Promise<void> {
  let missingBytes = end - offset;
  for (let at = offset; at < end; ) {
    const { bytes, next } = await context.view((state) => allocated(state, ino, at, end));
    missingBytes -= bytes;
    at = next;
    if (at < end) await turn();
  }
  if (missingBytes / KIB > context.freeKib()) throw new FsError("ENOSPC");
}

async function punchRange(
  context: RangeContext,
  ino: number,
  offset: number,
  end: number,
  keepPrivileges: boolean,
): Promise<void> {
  for (let at: number | undefined = offset; at !== undefined; ) {
    const time = context.now();
    const result: OperationResult = await context.apply({ op: "punch", ino, offset: at, end, time, keepPrivileges });
    at = result.resumeAt;
    if (at !== undefined) await turn();
  }
}

/** A part of one file to be copied to a place in another, or in the same. */
export interface RangeCopy {
  readonly ino: number;
  readonly offset: number;
  readonly toIno: number;
  readonly toOffset: number;
  readonly lengthBytes: number;
  /** As for `fallocate`, of the file written to. */
  readonly keepPrivileges: boolean;
}

/** copy_file_range(2): returns the bytes copied, fewer than asked at the end of the source or after 16 MiB. Keeps holes. */
export async function copyRange(context: RangeContext, range: RangeCopy): Promise<number> {
  const { ino, offset, toIno, toOffset, lengthBytes } = range;
  if (offset < 0 || toOffset < 0 || lengthBytes < 0) throw new FsError("EINVAL");
  if (toOffset + lengthBytes > FILE_SIZE_MAX) throw new FsError("EFBIG");
  if (ino === toIno && offset < toOffset + lengthBytes && toOffset < offset + lengthBytes) {
    throw new FsError("EINVAL", "the ranges overlap");
  }
  const wanted = Math.min(lengthBytes, COPY_MAX_BYTES);
  let copied = 0;
  while (copied < wanted) {
    // Steps end where the target's do, so that whole windows are written.
    const to = toOffset + copied;
    const stepBytes = Math.min(wanted - copied, COPY_STEP_BYTES - (to % COPY_STEP_BYTES));
    const step = { ...range, offset: offset + copied, toOffset: to, lengthBytes: stepBytes };
    try {
      const length = await copyStep(context, step);
      if (length === 0) break;
      copied += length;
      if (copied < wanted) await turn();
    } catch (error) {
      if (copied === 0) throw error;
      // What was copied is to be told, or the kernel would not know how long the file is; the next call meets the error again.
      break;
    }
  }
  return copied;
}

/** Copies what there is of the range: data as data, and a part without any as a hole. Gives how much it was. */
async function copyStep(
  context: RangeContext,
  { ino, offset, toIno, toOffset: to, lengthBytes, keepPrivileges }: RangeCopy,
): Promise<number> {
  const { hole, bytes } = await context.view((state) => {
    const pieces = readFile(state, ino, offset, lengthBytes);
    const isHole = pieces.length > 0 && pieces.every((piece) => piece.buffer === ZEROS.buffer);
    return { hole: isHole, bytes: joined(pieces) };
  });
  const { length } = bytes;
  if (length === 0) return 0;
  const time = context.now();
  if (hole) {
    await punchRange(context, toIno, to, to + length, keepPrivileges);
    await context.apply({ op: "extend", ino: toIno, size: to + length, time, keepPrivileges });
  } else {
    await context.apply({
      op: "write",
      ino: toIno,
      offset: to,
      data: bytes,
      append: false,
      killPrivileges: !keepPrivileges,
      time,
    });
  }
  return length;
}
