// One request to a server, from the moment it is made until it is answered: it may be sent several times, over several
// connections, with the same bytes. It holds everything that takes.

import type { Extent } from "../wire/chunk.ts";
import { Command } from "../wire/constants.ts";
import { encodeRequest, REQUEST_BYTES } from "../wire/request.ts";
import type { FramePool } from "./frames.ts";

export interface Transaction {
  /** Unique among those without an answer. */
  readonly cookie: number;
  /** One of Command. */
  readonly command: number;
  /** CommandFlag. */
  readonly flags: number;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  /** By the monotonic clock. */
  readonly startedMs: number;
  /** What goes out: the request, and the data of a WRITE. */
  readonly message: Uint8Array;
  /** Where the data of a READ goes; as long as the request, together. */
  readonly targets: readonly Uint8Array[];
  /** Where the answer to a BLOCK_STATUS goes, if it tells where holes are. */
  readonly tell?: ((extents: readonly Extent[]) => void) | undefined;
  /** Undefined: carried out. Otherwise the system's name of the error the server gave. Called once. */
  readonly settle: (error: string | undefined) => void;
}

/** A WRITE or WRITE_ZEROES, with memory of its own. */
export interface Write extends Transaction {
  /** From the pool; `message` is the front of it. */
  readonly frame: Buffer;
}

export type Asked = Pick<Transaction, "cookie" | "offsetBytes" | "lengthBytes" | "startedMs" | "settle">;

/** A request without data of its own. `command` and `flags` are Command and CommandFlag. */
export function plainTransaction(
  asked: Asked,
  command: number,
  flags = 0,
  targets: readonly Uint8Array[] = [],
  tell?: (extents: readonly Extent[]) => void,
): Transaction {
  const { cookie, offsetBytes, lengthBytes, startedMs, settle } = asked;
  const message = requestOf(asked, command, flags);
  return { cookie, command, flags, offsetBytes, lengthBytes, startedMs, message, targets, tell, settle };
}

/** A WRITE of `sources`, which are copied. */
export function writeTransaction(asked: Asked, flags: number, sources: readonly Uint8Array[], pool: FramePool): Write {
  const frame = pool.take(REQUEST_BYTES + asked.lengthBytes);
  let at = REQUEST_BYTES;
  for (const source of sources) {
    frame.set(source, at);
    at += source.length;
  }
  return framed(asked, Command.WRITE, flags, frame, at);
}

/** A WRITE_ZEROES. */
export function zeroTransaction(asked: Asked, flags: number, pool: FramePool): Write {
  return framed(asked, Command.WRITE_ZEROES, flags, pool.take(REQUEST_BYTES), REQUEST_BYTES);
}

/** The same write, to be sent once more, under another cookie: the memory is the same. */
export function writeAgain({ command, flags, frame, message }: Write, asked: Asked): Write {
  return framed(asked, command, flags, frame, message.length);
}

/** The data of a write; nothing for one of zeroes. */
export const dataOf = (write: Write): Uint8Array => write.message.subarray(REQUEST_BYTES);

export const changes = ({ command }: Transaction): boolean =>
  command !== Command.READ && command !== Command.FLUSH && command !== Command.BLOCK_STATUS;

// Every field by name: objects put together from others take several times as long to make.
function framed(asked: Asked, command: number, flags: number, frame: Buffer, messageBytes: number): Write {
  const { cookie, offsetBytes, lengthBytes, startedMs, settle } = asked;
  requestOf(asked, command, flags, frame);
  const message = frame.subarray(0, messageBytes);
  const targets: readonly Uint8Array[] = [];
  const tell = undefined;
  return { cookie, command, flags, offsetBytes, lengthBytes, startedMs, message, targets, tell, settle, frame };
}

function requestOf(
  { cookie, offsetBytes, lengthBytes }: Asked,
  command: number,
  flags: number,
  into?: Uint8Array,
): Uint8Array {
  return encodeRequest({ flags, command, cookie: { high: 0, low: cookie }, offsetBytes, lengthBytes }, into);
}
