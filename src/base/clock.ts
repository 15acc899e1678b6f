// Time is injected, so that everything from the devices up runs under virtual time in a simulation.

/** A point in time as files carry it: whole seconds since 1970 (may be negative) and 0 ≤ nsec < 10^9. */
export interface Timespec {
  readonly sec: number;
  readonly nsec: number;
}

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Wall clock, for file times only; nothing decides by it. */
  now(): Timespec;
  /** Monotonic milliseconds, for deadlines and rates. */
  monotonicMs(): number;
  /** Calls `action` once after `delayMs`, unless cancelled first. Does not keep the process alive, unless it says so. */
  after(delayMs: number, action: () => void): Timer;
}

/** The machine's own clock. */
export class SystemClock implements Clock {
  readonly #keepsAlive: boolean;

  /** `keepsAlive`: a timer keeps the process alive, for programs that would otherwise end while they wait. */
  constructor(keepsAlive = false) {
    this.#keepsAlive = keepsAlive;
  }

  // performance.timeOrigin + now() has sub-microsecond steps, Date.now() only milliseconds.
  now(): Timespec {
    const ms = performance.timeOrigin + performance.now();
    const sec = Math.floor(ms / 1000);
    return { sec, nsec: Math.min(999_999_999, Math.floor((ms - sec * 1000) * 1e6)) };
  }

  monotonicMs(): number {
    return performance.now();
  }

  after(delayMs: number, action: () => void): Timer {
    const timer = setTimeout(action, delayMs);
    if (!this.#keepsAlive) timer.unref();
    return { cancel: () => clearTimeout(timer) };
  }
}
