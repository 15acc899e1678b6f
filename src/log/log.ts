// One log: the frames that go on from one root, in segments on every copy in sync. Written by appending, never in place.
// Invariants: I4, and I3 in that its segments stay set aside until the root after it is durable.

import { type Uuid } from "../base/uuid.ts";
import {
  frameBytes,
  frameCheck,
  LOG_FRAME_ALIGN_BYTES,
  LOG_FRAME_HEADER_BYTES,
  LOG_SEGMENT_BYTES,
  sealFrame,
} from "../format/log-frame.ts";
import { KIB } from "../format/geometry.ts";
import type { BlockWrite } from "../copies/block-io.ts";
import type { Journal } from "./journal.ts";
import type { Segment, Segments } from "./segments.ts";

export interface LogIdentity {
  /** Random, as the root names it. */
  readonly id: Uuid;
  /** Of that root, see `logSeed`. */
  readonly seed: Uint8Array;
  /** Bit per copy it is written to. */
  readonly mask: number;
}

export class Log {
  readonly id: Uuid;
  /** Bit per copy it is written to. */
  readonly mask: number;
  readonly #segments: Segments;
  readonly #journal: Journal;
  readonly #firstBytes: number;
  /** All its segments; the last is the one that the frames of the last but one name as next. */
  readonly #chain: Segment[];
  #segment = 0;
  #offsetBytes = 0;
  #number = 0;
  #previous: Uint8Array;
  /** Position in the journal up to which frames were made. */
  #framedBytes: number;

  private constructor(
    { id, seed, mask }: LogIdentity,
    segments: Segments,
    journal: Journal,
    from: number,
    chain: Segment[],
  ) {
    this.id = id;
    this.mask = mask;
    this.#previous = seed;
    this.#segments = segments;
    this.#journal = journal;
    this.#firstBytes = from;
    this.#framedBytes = from;
    this.#chain = chain;
  }

  /** An empty log of what the journal holds from position `from` on; undefined when there is no room for one. */
  static begin(identity: LogIdentity, segments: Segments, journal: Journal, from: number): Log | undefined {
    const { mask } = identity;
    const first = segments.take(mask);
    const second = segments.take(mask);
    if (first !== undefined && second !== undefined) return new Log(identity, segments, journal, from, [first, second]);
    if (first !== undefined) segments.give(first);
    return undefined;
  }

  /** Goes on with a log that a root names and that nothing was ever appended to; undefined when there is no room for it. */
  static resume(
    identity: LogIdentity,
    head: Segment,
    segments: Segments,
    journal: Journal,
    from: number,
  ): Log | undefined {
    const second = segments.take(identity.mask);
    if (second === undefined) return undefined;
    segments.adopt(head);
    return new Log(identity, segments, journal, from, [head, second]);
  }

  /** For the root: first KiB of the first segment on each copy. */
  get head(): Segment {
    return this.#chain[0] as Segment;
  }

  /**
   * Frames for what the journal got since the last call, up to position `to`; undefined when there is no room for them, and
   * then the log stays as it was. `sureBytes`: position up to which everything is flushed, with what it names.
   */
  frames(to: number, sureBytes: number): BlockWrite[] | undefined {
    const before = {
      segment: this.#segment,
      offsetBytes: this.#offsetBytes,
      number: this.#number,
      previous: this.#previous,
      framedBytes: this.#framedBytes,
      chain: this.#chain.length,
    };
    const writes: BlockWrite[] = [];
    while (this.#framedBytes < to) {
      const write = this.#frame(to, sureBytes);
      if (write !== undefined) writes.push(write);
      else if (!this.#nextSegment()) {
        this.#segment = before.segment;
        this.#offsetBytes = before.offsetBytes;
        this.#number = before.number;
        this.#previous = before.previous;
        this.#framedBytes = before.framedBytes;
        for (const segment of this.#chain.splice(before.chain)) this.#segments.give(segment);
        return undefined;
      }
    }
    return writes;
  }

  /** Undefined when the segment has no room for a frame. */
  #frame(to: number, sureBytes: number): BlockWrite | undefined {
    const roomBytes = LOG_SEGMENT_BYTES - this.#offsetBytes;
    if (roomBytes < LOG_FRAME_ALIGN_BYTES) return undefined;
    const payloadBytes = Math.min(to - this.#framedBytes, roomBytes - LOG_FRAME_HEADER_BYTES);
    const bytes = new Uint8Array(frameBytes(payloadBytes));
    this.#journal.read(
      this.#framedBytes,
      bytes.subarray(LOG_FRAME_HEADER_BYTES, LOG_FRAME_HEADER_BYTES + payloadBytes),
    );
    sealFrame(bytes, {
      logId: this.id,
      number: this.#number++,
      segment: this.#segment,
      offsetBytes: this.#offsetBytes,
      streamBytes: this.#framedBytes - this.#firstBytes,
      sureBytes: Math.max(0, sureBytes - this.#firstBytes),
      next: this.#chain[this.#segment + 1] as Segment,
      previous: this.#previous,
      payloadBytes,
    });
    const segment = this.#chain[this.#segment] as Segment;
    const offsetKib = this.#offsetBytes / KIB;
    this.#offsetBytes += bytes.length;
    this.#framedBytes += payloadBytes;
    this.#previous = frameCheck(bytes);
    return { pointers: segment.map((kib) => (kib === 0 ? 0 : kib + offsetKib)), bytes };
  }

  #nextSegment(): boolean {
    const another = this.#segments.take(this.mask);
    if (another === undefined) return false;
    this.#chain.push(another);
    this.#segment++;
    this.#offsetBytes = 0;
    return true;
  }

  /** Nothing needs the log any more. */
  end(): void {
    for (const segment of this.#chain.splice(0)) this.#segments.give(segment);
  }
}
