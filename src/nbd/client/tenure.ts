// Whether what is at the other end is still ours to write to (I11). A server of ours says so by the number of our lease: another
// number, and somebody else was in. With servers of others a heartbeat on the medium says until when, by the monotonic clock; what is
// not written yet is held to that by whoever asks for it, what is written again, or late, only here.

export class Tenure {
  /** Nothing is written later than this. */
  writableUntilMs = Infinity;
  readonly #lease: number | undefined;

  /** `lease`: the number that the first connection was told; undefined: the server knows of none. */
  constructor(lease: number | undefined) {
    this.#lease = lease;
  }

  /** Whether a write may go out now. */
  mayWrite(nowMs: number): boolean {
    return this.#lease !== undefined || nowMs <= this.writableUntilMs;
  }

  /** Why a new connection can't be gone on with, where `lease` was told; undefined when it can. `owes`: something is to be written. */
  refusal(lease: number | undefined, owes: boolean, nowMs: number): string | undefined {
    if (this.#lease !== undefined)
      return lease === this.#lease ? undefined : "it was somebody else's meanwhile, or its server can't tell";
    return !owes || this.mayWrite(nowMs) ? undefined : LATE;
  }
}

/** Why nothing is written any more. */
export const LATE = "it was away for longer than it was ours for certain";
