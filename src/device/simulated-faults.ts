// What a simulated device does wrong, and when: counted per kind of operation, so that a test can fail the n-th for all n.

export type FaultyOperation = "read" | "write" | "flush";

export interface Fault {
  readonly operation: FaultyOperation;
  /** 1 is the next operation of this kind after the fault was set. */
  readonly nth: number;
  /** Goes on from there for good. */
  readonly permanent?: boolean;
  /** Only operations that touch this byte count. */
  readonly atByte?: number;
  readonly effect:
    | {
        readonly kind: "error";
        readonly code: string /** Sectors of a refused write that reach the medium anyway. */;
        readonly tornSectors?: number;
      }
    /** A write that reports success and never happens. */
    | { readonly kind: "lost" }
    /** A write that reports success and lands elsewhere. */
    | { readonly kind: "misdirected"; readonly byBytes: number }
    /** One bit of what is read, or written, is wrong. */
    | { readonly kind: "flipped"; readonly byte: number; readonly bit: number }
    /** Never answers. */
    | { readonly kind: "hang" }
    /** Happens, and answers, only after `until`. */
    | { readonly kind: "late"; readonly until: Promise<void> };
}

export class FaultPlan {
  readonly #armed: { readonly fault: Fault; count: number }[] = [];

  arm(fault: Fault): void {
    this.#armed.push({ fault, count: 0 });
  }

  clear(): void {
    this.#armed.length = 0;
  }

  /** Counts one operation; what it has to do wrong, if anything. */
  next(operation: FaultyOperation, offsetBytes: number, lengthBytes: number): Fault["effect"] | undefined {
    let effect: Fault["effect"] | undefined;
    for (const armed of this.#armed) {
      const { fault } = armed;
      if (fault.operation !== operation) continue;
      if (fault.atByte !== undefined && (fault.atByte < offsetBytes || fault.atByte >= offsetBytes + lengthBytes))
        continue;
      armed.count++;
      if (armed.count === fault.nth || (fault.permanent === true && armed.count > fault.nth)) effect ??= fault.effect;
    }
    return effect;
  }
}
