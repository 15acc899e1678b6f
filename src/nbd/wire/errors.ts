// How a conversation goes wrong: the other end said something that NBD does not allow, or it went away.
// Invariant I12: each is one line that names the peer's message and what is the matter with it.

/** The other end broke the protocol; the connection can't go on. `message` is one line: what was read, and what was wrong. */
export class NbdProtocolError extends Error {
  override readonly name = "NbdProtocolError";
  /** The message, or the part of it, that was being read. */
  readonly what: string;

  constructor(what: string, problem: string) {
    super(`${what}: ${problem}`);
    this.what = what;
  }
}

/** The connection ended, or was cut, before what was waited for had come. */
export class NbdClosedError extends Error {
  override readonly name = "NbdClosedError";
  /** What was being read or sent. */
  readonly what: string;
  /** Not a byte of it had come: between two messages this is how a peer leaves in order. */
  readonly atBoundary: boolean;
  /** The system's name for what happened (ECONNRESET, EPIPE, …); undefined when the peer just hung up. */
  readonly code: string | undefined;

  constructor(what: string, atBoundary: boolean, cause?: NodeJS.ErrnoException) {
    const why = cause?.message ?? "the other end hung up";
    super(`${what}: ${why}`, cause === undefined ? undefined : { cause });
    this.what = what;
    this.atBoundary = atBoundary;
    this.code = cause?.code;
  }
}
