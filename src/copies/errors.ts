// What goes wrong with copies, typed: each message is one line that names the copy or target and says what to do.

import { FsError } from "../base/errno.ts";

/** One place of a block and why it could not be used. */
export interface BadPlace {
  readonly copyIndex: number;
  readonly copyName: string;
  readonly kib: number;
  readonly reason: string;
}

/** No copy gave the block as its parent remembers it (I5). */
export class CorruptBlockError extends Error {
  override readonly name = "CorruptBlockError";
  readonly places: readonly BadPlace[];

  constructor(sizeBytes: number, places: readonly BadPlace[]) {
    const where = places.map((p) => `copy ${p.copyIndex} (${p.copyName}) at KiB ${p.kib}: ${p.reason}`).join("; ");
    const what = places.length === 0 ? "has no place on any copy at hand" : `is unreadable on every copy: ${where}`;
    super(`block of ${sizeBytes} bytes ${what}`);
    this.places = places;
  }
}

/** What is needed is not, or not whole, on any copy at hand. Another one may have it. */
export class UnreadableError extends FsError {
  constructor(message: string) {
    super("EIO", message);
  }
}

/** Too few copies are left to go on writing: nothing more is acknowledged. */
export class CopiesLostError extends Error {
  override readonly name = "CopiesLostError";
}

/** Somebody else writes to this volume now: nothing more is written from here (I11). */
export class FencedError extends Error {
  override readonly name = "FencedError";
}

/** What is wrong, for code that has to tell; people read the message. */
export type CopiesErrorKind =
  // ---- with what the operator said
  /** It means nothing, whatever the volume is like. */
  | "syntax"
  /** There is no such copy in the volume, or it can't be meant. */
  | "no-copy"
  /** What is to be ended or gone on with was not begun: nothing is frozen, suspended or under way there. */
  | "not-begun"
  // ---- with a target
  /** Another host uses it. */
  | "in-use"
  /** This system uses it, or it holds something that would be lost. */
  | "occupied"
  | "foreign"
  | "empty"
  | "damaged-header"
  | "unsupported"
  | "twice"
  /** It is of another volume, or does not fit the others. */
  | "mixed"
  | "missing-node"
  | "wrong-row"
  | "missing-copy"
  | "too-small"
  | "too-many"
  | "no-root"
  | "divergent"
  // ---- with doing that to a copy now
  /** It takes too long, or something else is under way; another try may do. */
  | "busy"
  /** Too few copies in sync would be left without it. */
  | "needed"
  /** Too few copies would be left in the volume without it. */
  | "too-few"
  /** What it alone holds would be lost. */
  | "only-holder"
  /** Only a complete copy will do. */
  | "not-in-sync"
  /** It is being detached. */
  | "leaving"
  /** It, or a node of it, is frozen: that is to be resumed first. */
  | "frozen"
  /** A node of it is suspended: that is to be resumed first. */
  | "suspended"
  /** Its nodes can't be replaced one by one. */
  | "not-replaceable"
  // ---- with what was begun
  /** It ended before it was done, or stopped. */
  | "unfinished";

/** Targets that do not make a volume that can be used. */
export class CopiesError extends Error {
  override readonly name = "CopiesError";
  readonly kind: CopiesErrorKind;
  /** What the operator called the thing at fault. */
  readonly target: string;

  constructor(kind: CopiesErrorKind, target: string, detail: string, options?: ErrorOptions) {
    super(`${target}: ${detail}`, options);
    this.kind = kind;
    this.target = target;
  }
}

/** True for words of the operator's that mean nothing: wrong usage, whatever the volume is like. */
export const isSyntax = (error: unknown): boolean => error instanceof CopiesError && error.kind === "syntax";
