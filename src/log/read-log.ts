// Reads back the log that goes on from a root: on each copy the longest chain of frames that verify, and of those the
// longest. A torn tail ends it; but a frame that says more was flushed than is left is damage, not a tail, and where a device gives
// nothing there may be anything (trap 5).
// Invariants: I4, I12 (every frame is checked before a number of it is used, places are held to the copy's bounds).

import { FsError } from "../base/errno.ts";
import { messageOf } from "../base/thrown.ts";
import { formatUuid, isZero, type Uuid } from "../base/uuid.ts";
import { UnreadableError } from "../copies/errors.ts";
import type { ReadableCopy } from "../copies/lone-copy.ts";
import { KIB } from "../format/geometry.ts";
import {
  frameBytes,
  frameTrace,
  LOG_FRAME_ALIGN_BYTES,
  LOG_SEGMENT_BYTES,
  LOG_SEGMENT_KIB,
  logSeed,
  type OpenedFrame,
  openFrame,
} from "../format/log-frame.ts";
import { rootEpoch, rootSequence } from "../format/root-block.ts";
import { rootLogHead, rootLogId } from "../format/root-log.ts";

/** Far more than any writer of ours lets a log grow to: what is longer is crafted. */
const SEGMENTS_MAX = 4096;

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
  /** Of the frame that would come next. */
  number: number;
  previous: Uint8Array;
  streamBytes: number;
  sureBytes: number;
  /** By copy, as the frames name them. */
  readonly segments: number[][];
  /** The most that any frame of this log, in place or not, says was flushed. */
  claimedBytes: number;
  /** What the device said when it was asked for a segment that goes on from here: nobody knows what is in that and after it. */
  unreadable: string | undefined;
}

/**
 * The log of the root in `root`, as far as `copies`, which are in sync with it, have it; undefined when it has none or an empty one.
 * Throws UnreadableError when what was acknowledged can't be read whole, unless `dropLost` says that what there is will do.
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
  if (!dropLost) refuseLost(chains, best, claimedBytes, id);
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

/** Throws UnreadableError when something acknowledged is not, or may not be, in the longest chain. */
function refuseLost(chains: readonly Chain[], { streamBytes }: Chain, claimedBytes: number, id: Uuid): void {
  const advice = "give the other copies, or go on without the rest by fsck.h2ts -y";
  if (claimedBytes > streamBytes) {
    const detail = `${streamBytes} of ${claimedBytes} acknowledged bytes of log ${formatUuid(id)} can be read`;
    throw new UnreadableError(`${detail}; ${advice}`);
  }
  // What was acknowledged is on every copy: one that was read to its end, and lacks nothing that any frame says was flushed, has all of it.
  if (chains.some((chain) => chain.unreadable === undefined && chain.streamBytes >= claimedBytes)) return;
  const reason = chains.find(({ unreadable }) => unreadable !== undefined)?.unreadable;
  const detail = `log ${formatUuid(id)} can't be read past ${streamBytes} bytes (${reason})`;
  throw new UnreadableError(`${detail}; mount again, ${advice}`);
}

async function readChain(from: ReadableCopy, id: Uuid, head: readonly number[], seed: Uint8Array): Promise<Chain> {
  const { copy } = from;
  const chain: Chain = {
    pieces: [],
    number: 0,
    previous: seed,
    streamBytes: 0,
    sureBytes: 0,
    segments: head.map(placed),
    claimedBytes: 0,
    unreadable: undefined,
  };
  let next: readonly number[] | undefined = head;
  let isWhole = true;
  let isTraced = false;
  for (let segment = 0; segment < SEGMENTS_MAX; segment++) {
    const bytes = await readSegment(from, next[copy.index] ?? 0);
    if (bytes === undefined) return chain;
    if (bytes instanceof Unreadable) {
      // Else the chain ended before, and there is no sign that anything of this log was ever written there.
      if (isWhole || isTraced) chain.unreadable = bytes.reason;
      return chain;
    }
    let offsetBytes = 0;
    next = undefined;
    while (isWhole && offsetBytes < LOG_SEGMENT_BYTES) {
      const { number, streamBytes, previous } = chain;
      const place = { logId: id, number, segment, offsetBytes, streamBytes, previous };
      const frame = openFrame(bytes.subarray(offsetBytes), place);
      if (frame === undefined) break;
      take(chain, frame);
      next = frame.next;
      offsetBytes += frameBytes(frame.payloadBytes);
    }
    if (next !== undefined) for (const [index, kib] of next.entries()) if (kib !== 0) chain.segments[index]?.push(kib);
    // No segment is begun before the one before it is full. What comes after the end is asked for its claims only, past a frame that
    // is damaged, too.
    isWhole &&= offsetBytes === LOG_SEGMENT_BYTES;
    for (let at = offsetBytes; at < LOG_SEGMENT_BYTES; at += LOG_FRAME_ALIGN_BYTES) {
      const trace = frameTrace(bytes.subarray(at), id, segment);
      if (trace === undefined) continue;
      isTraced = true;
      chain.claimedBytes = Math.max(chain.claimedBytes, trace.claimedBytes);
      if (next === undefined || trace.claimedBytes > 0) next = trace.next ?? next;
    }
    if (next === undefined) return chain;
  }
  throw new FsError("EIO", `log ${formatUuid(id)} on copy ${copy.index} is longer than any; run fsck.h2ts`);
}

/** Goes on with a frame that verifies. */
function take(chain: Chain, frame: OpenedFrame): void {
  chain.number++;
  chain.previous = frame.check;
  chain.pieces.push(frame.payload);
  chain.streamBytes += frame.payloadBytes;
  chain.sureBytes = Math.max(chain.sureBytes, Math.min(frame.sureBytes, chain.streamBytes));
  chain.claimedBytes = Math.max(chain.claimedBytes, frame.sureBytes);
}

const placed = (kib: number): number[] => (kib === 0 ? [] : [kib]);

/** A segment that its device can't give, or not in time. */
class Unreadable {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/** Undefined when there is none. */
async function readSegment({ copy, read }: ReadableCopy, kib: number): Promise<Uint8Array | Unreadable | undefined> {
  if (kib === 0 || copy.placeRefusal(kib, LOG_SEGMENT_KIB * KIB) !== undefined) return undefined;
  const bytes = new Uint8Array(LOG_SEGMENT_BYTES);
  try {
    await read(kib * KIB, [bytes]);
    return bytes;
  } catch (error) {
    return new Unreadable(messageOf(error));
  }
}
