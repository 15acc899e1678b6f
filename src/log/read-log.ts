// Reads back the log that goes on from a root: on each copy the longest chain of frames that verify, and of those the
// longest. A torn tail ends it; but a frame that says more was flushed than is left is damage, not a tail (trap 5).
// Invariants: I4, I12 (every frame is checked before a number of it is used, places are held to the copy's bounds).

import { FsError } from "../base/errno.ts";
import { formatUuid, isZero, type Uuid } from "../base/uuid.ts";
import type { ReadableCopy } from "../copies/lone-copy.ts";
import { KIB } from "../format/geometry.ts";
import {
  flushedClaim,
  frameBytes,
  LOG_FRAME_ALIGN_BYTES,
  LOG_SEGMENT_BYTES,
  LOG_SEGMENT_KIB,
  logSeed,
  openFrame,
} from "../format/log-frame.ts";
import { rootEpoch, rootSequence } from "../format/root-block.ts";
import { rootLogHead, rootLogId } from "../format/root-log.ts";

/** Far more than any writer of ours lets a log grow to: what is longer is crafted. */
const STREAM_BYTES_MAX = 256 * 1024 * 1024;

export interface LogFound {
  readonly id: Uuid;
  readonly stream: Uint8Array;
  /** Bytes of the stream known to be flushed on every copy in sync, with what they name. */
  readonly sureBytes: number;
  /** By copy: first KiB of every segment that the log has there. */
  readonly segments: readonly (readonly number[])[];
}

interface Chain {
  readonly pieces: Uint8Array[];
  streamBytes: number;
  sureBytes: number;
  /** By copy, as the frames name them. */
  readonly segments: number[][];
  /** The most that any frame of this log, in place or not, says was flushed. */
  claimedBytes: number;
}

/**
 * The log of the root in `root`, as far as `copies`, which are in sync with it, have it; undefined when it has none or an empty one.
 * Throws FsError EIO when what was acknowledged can't be read whole, unless `dropLost` says that what there is will do.
 */
export async function readLog(
  root: DataView,
  copies: readonly ReadableCopy[],
  dropLost = false,
): Promise<LogFound | undefined> {
  const id = rootLogId(root).slice();
  if (isZero(id)) return undefined;
  const head = rootLogHead(root);
  const seed = logSeed(rootSequence(root), rootEpoch(root));
  const chains = await Promise.all(copies.map((copy) => readChain(copy, id, head, seed)));
  let best: Chain | undefined;
  let claimedBytes = 0;
  for (const chain of chains) {
    claimedBytes = Math.max(claimedBytes, chain.claimedBytes);
    if (best === undefined || chain.streamBytes > best.streamBytes) best = chain;
  }
  if (best === undefined) return undefined;
  if (claimedBytes > best.streamBytes && !dropLost) {
    const detail = `${best.streamBytes} of ${claimedBytes} acknowledged bytes of log ${formatUuid(id)} can be read`;
    throw new FsError("EIO", `${detail}; give the other copies, or go on without the rest by fsck.h2ts -y`);
  }
  const stream = new Uint8Array(best.streamBytes);
  let at = 0;
  for (const piece of best.pieces) {
    stream.set(piece, at);
    at += piece.length;
  }
  // A copy that lacks frames which were flushed there was set back: what they name is looked at, too (I1, I6).
  const sureBytes = chains.reduce((least, chain) => Math.min(least, chain.streamBytes), best.sureBytes);
  return { id, stream, sureBytes, segments: best.segments };
}

async function readChain(from: ReadableCopy, id: Uuid, head: readonly number[], seed: Uint8Array): Promise<Chain> {
  const { copy } = from;
  const chain: Chain = { pieces: [], streamBytes: 0, sureBytes: 0, segments: head.map(placed), claimedBytes: 0 };
  let number = 0;
  let previous = seed;
  let next = head;
  for (let segment = 0; chain.streamBytes < STREAM_BYTES_MAX; segment++) {
    const bytes = await readSegment(from, next[copy.index] ?? 0);
    if (bytes === undefined) return chain;
    let offsetBytes = 0;
    let found = false;
    let after: readonly number[] | undefined;
    while (offsetBytes < LOG_SEGMENT_BYTES) {
      const { streamBytes } = chain;
      const frame = openFrame(bytes.subarray(offsetBytes), {
        logId: id,
        number,
        segment,
        offsetBytes,
        streamBytes,
        previous,
      });
      if (frame === undefined) break;
      found = true;
      number++;
      previous = frame.check;
      after = frame.next;
      chain.pieces.push(frame.payload);
      chain.streamBytes += frame.payloadBytes;
      chain.sureBytes = Math.max(chain.sureBytes, Math.min(frame.sureBytes, chain.streamBytes));
      chain.claimedBytes = Math.max(chain.claimedBytes, frame.sureBytes);
      offsetBytes += frameBytes(frame.payloadBytes);
    }
    for (let at = offsetBytes; at < LOG_SEGMENT_BYTES; at += LOG_FRAME_ALIGN_BYTES) {
      chain.claimedBytes = Math.max(chain.claimedBytes, flushedClaim(bytes.subarray(at), id));
    }
    if (!found || after === undefined) return chain;
    for (const [index, kib] of after.entries()) if (kib !== 0) chain.segments[index]?.push(kib);
    next = after;
  }
  throw new FsError("EIO", `log ${formatUuid(id)} on copy ${copy.index} is longer than any; run fsck.h2ts`);
}

const placed = (kib: number): number[] => (kib === 0 ? [] : [kib]);

/** Undefined when there is none, or the device can't give it, or not in time: the chain on this copy ends there. */
async function readSegment({ copy, read }: ReadableCopy, kib: number): Promise<Uint8Array | undefined> {
  if (kib === 0 || copy.placeRefusal(kib, LOG_SEGMENT_KIB * KIB) !== undefined) return undefined;
  const bytes = new Uint8Array(LOG_SEGMENT_BYTES);
  try {
    await read(kib * KIB, [bytes]);
    return bytes;
  } catch {
    return undefined;
  }
}
