// Counts the requests of one connection that are under way, and their bytes: reading more waits while there are too many (I12).

interface Bounds {
  readonly requestsMax: number;
  readonly payloadMaxBytes: number;
}

export class InFlight {
  readonly #bounds: Bounds;
  #requests = 0;
  #payloadBytes = 0;
  #roomWaiter: { readonly payloadBytes: number; readonly resolve: () => void } | undefined;
  readonly #idleWaiters: (() => void)[] = [];

  constructor(bounds: Bounds) {
    this.#bounds = bounds;
  }

  /** Takes room for a request, waiting until there is some; one at a time may wait. A request alone has room, however large. */
  async enter(payloadBytes: number): Promise<void> {
    if (!this.#fits(payloadBytes)) {
      await new Promise<void>((resolve) => (this.#roomWaiter = { payloadBytes, resolve }));
    }
    this.#requests++;
    this.#payloadBytes += payloadBytes;
  }

  leave(payloadBytes: number): void {
    this.#requests--;
    this.#payloadBytes -= payloadBytes;
    const waiter = this.#roomWaiter;
    if (waiter !== undefined && this.#fits(waiter.payloadBytes)) {
      this.#roomWaiter = undefined;
      waiter.resolve();
    }
    if (this.#requests === 0) for (const resolve of this.#idleWaiters.splice(0)) resolve();
  }

  /** Resolves once nothing is under way. */
  async idle(): Promise<void> {
    if (this.#requests > 0) await new Promise<void>((resolve) => this.#idleWaiters.push(resolve));
  }

  #fits(payloadBytes: number): boolean {
    if (this.#requests === 0) return true;
    const { requestsMax, payloadMaxBytes } = this.#bounds;
    return this.#requests < requestsMax && this.#payloadBytes + payloadBytes <= payloadMaxBytes;
  }
}
