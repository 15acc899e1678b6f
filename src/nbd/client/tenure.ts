// Whether what is at the other end is still ours to write to (I11). A server of ours says so by the number of our lease: another
// number, and somebody else was in. With servers of others a heartbeat on the medium says until when, by the monotonic clock; what is
// not written yet is held to that by whoever asks for it, what is written again, or late, only here.
// Where nothing is to be written at all, a node may be laid to rest: another number is gone on under then, and counted, and whoever
// writes next makes sure first that nobody wrote.

export class Tenure {
  /** Nothing is written later than this. */
  writableUntilMs = Infinity;
  #lease: number | undefined;
  #isAtRest = false;
  #timesUnguarded = 0;

  /** `lease`: the number that the first connection was told; undefined: the server knows of none. */
  constructor(lease: number | undefined) {
    this.#lease = lease;
  }

  /** How often somebody else may have been in since it was laid to rest. */
  get timesUnguarded(): number {
    return this.#timesUnguarded;
  }

  /** From now on nothing is written until `wake`: that somebody else was in is no reason to end. */
  rest(): void {
    this.#isAtRest = true;
    this.#timesUnguarded = 0;
  }

  /** Goes on under the number of the lease that there is now. */
  wake(): void {
    this.#isAtRest = false;
    this.#timesUnguarded = 0;
  }

  /** Whether a write may go out now. */
  mayWrite(nowMs: number): boolean {
    return this.#lease !== undefined || nowMs <= this.writableUntilMs;
  }

  /** Why a new connection can't be gone on with, where `lease` was told; undefined when it can. `owes`: something is to be written. */
  refusal(lease: number | undefined, owes: boolean, nowMs: number): string | undefined {
    if (this.#lease === undefined) return !owes || this.mayWrite(nowMs) ? undefined : LATE;
    if (lease === this.#lease || (this.#isAtRest && !owes && lease !== undefined)) return undefined;
    return "it was somebody else's meanwhile, or its server can't tell";
  }

  /** A new connection that was not refused is gone on with. */
  goOn(lease: number | undefined): void {
    if (this.#lease === undefined || lease === this.#lease) return;
    this.#lease = lease;
    this.#timesUnguarded++;
  }
}

/** Why nothing is written any more. */
export const LATE = "it was away for longer than it was ours for certain";
