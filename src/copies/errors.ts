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

export type CopiesErrorKind =
  | "in-use"
  | "syntax"
  | "foreign"
  | "empty"
  | "damaged-header"
  | "unsupported"
  | "twice"
  | "mixed"
  | "missing-node"
  | "wrong-row"
  | "missing-copy"
  | "needed"
  | "busy"
  | "too-small"
  | "too-many"
  | "no-root"
  | "divergent"
  | "no-copy"
  | "too-few";

/** Targets that do not make a volume that can be used. */
export class CopiesError extends Error {
  override readonly name = "CopiesError";
  readonly kind: CopiesErrorKind;
  /** What the operator called the thing at fault. */
  readonly target: string;

  constructor(kind: CopiesErrorKind, target: string, detail: string) {
    super(`${target}: ${detail}`);
    this.kind = kind;
    this.target = target;
  }
}

/** True for words of the operator's that mean nothing: wrong usage, whatever the volume is like. */
export const isSyntax = (error: unknown): boolean => error instanceof CopiesError && error.kind === "syntax";
