// What a server offers for one export, as negotiated.

import { TransmissionFlag } from "../wire/constants.ts";
import type { ByteSink } from "../wire/byte-sink.ts";
import type { ByteSource } from "../wire/byte-source.ts";

export interface Terms {
  readonly sizeBytes: number;
  /** TransmissionFlag. */
  readonly flags: number;
  /** Offsets and lengths are multiples of it. */
  readonly minimumBytes: number;
  /** No READ or WRITE is longer. */
  readonly maximumBytes: number;
  /** Replies to reads come in chunks. */
  readonly structured: boolean;
  /** Id of the meta context base:allocation; undefined: the server does not tell where holes are. */
  readonly allocationContext: number | undefined;
  /**
   * Number of our lease: the server keeps others from writing, and waits for us when the connection is lost. As long as it is the
   * same, nobody else wrote there. Undefined: a server of others, without leases.
   */
  readonly lease: number | undefined;
  /** Time from a question to its answer, the least of those of the negotiation. */
  readonly roundTripMs: number;
}

/** An export opened over a connection, ready for requests. */
export interface OpenExport {
  readonly terms: Terms;
  readonly source: ByteSource;
  readonly sink: ByteSink;
  /** Leaves once everything sent has gone out. Resolves when the server has left, too, or the connection was let go of. */
  readonly end: () => Promise<void>;
  /** Lets go of the connection at once, whatever is on its way. */
  readonly destroy: () => void;
}

export const offers = ({ flags }: Terms, flag: number): boolean => (flags & flag) !== 0;

/** Flags that may go without harm. */
const DISPENSABLE = TransmissionFlag.ROTATIONAL | TransmissionFlag.CAN_MULTI_CONN;

/** What was agreed on before, `now` offers as well: the export can be gone on with. */
export function stillHolds(before: Terms, now: Terms): boolean {
  const lacking = before.flags & ~now.flags & ~DISPENSABLE;
  const turnedReadOnly = ~before.flags & now.flags & TransmissionFlag.READ_ONLY;
  return (
    now.sizeBytes === before.sizeBytes &&
    now.minimumBytes <= before.minimumBytes &&
    now.maximumBytes >= before.maximumBytes &&
    lacking === 0 &&
    turnedReadOnly === 0 &&
    (now.lease !== undefined || before.lease === undefined)
  );
}

/** Why nothing can be kept there; undefined when it can. */
export function writeRefusal(terms: Terms): { readonly code: string; readonly detail: string } | undefined {
  if (offers(terms, TransmissionFlag.READ_ONLY)) return { code: "EROFS", detail: "its server exports it read-only" };
  if (!offers(terms, TransmissionFlag.SEND_FLUSH) && !offers(terms, TransmissionFlag.SEND_FUA)) {
    return {
      code: "ENOTSUP",
      detail: "its server offers neither FLUSH nor FUA, so nothing there could be made durable; switch that on",
    };
  }
  return undefined;
}
