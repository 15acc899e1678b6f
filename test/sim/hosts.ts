// Hosts that reach one set of devices over a network, under virtual time: each call takes a while to arrive and its answer
// a while to come back, and a host can be stopped for a time, as a machine is that swaps or is suspended. It notices
// nothing: answers and timers wait, and come all at once when it goes on.

import type { Clock, Timer } from "../../src/base/clock.ts";
import type { SeededRandom } from "../../src/base/random.ts";
import type { BlockDevice } from "../../src/device/device.ts";
import type { SimulatedClock } from "../../src/device/simulated-clock.ts";
import type { SimulatedDevice } from "../../src/device/simulated.ts";

/** A write that a host issued. */
export interface Issued {
  readonly host: Host;
  readonly device: string;
  readonly offsetBytes: number;
  readonly issuedMs: number;
  /** When it reached the device; undefined while it is on its way. */
  arrivedMs: number | undefined;
}

export class Host {
  readonly name: string;
  readonly clock: Clock;
  readonly #world: SimulatedClock;
  #stopped = false;
  readonly #held: (() => void)[] = [];

  constructor(name: string, world: SimulatedClock) {
    this.name = name;
    this.#world = world;
    this.clock = {
      now: () => world.now(),
      monotonicMs: () => world.monotonicMs(),
      after: (delayMs, action) => this.#after(delayMs, action),
    };
  }

  #after(delayMs: number, action: () => void): Timer {
    let cancelled = false;
    const timer = this.#world.after(delayMs, () => this.whenRunning(() => void (cancelled || action())));
    return {
      cancel: () => {
        cancelled = true;
        timer.cancel();
      },
    };
  }

  /** Now, or when the host goes on. */
  whenRunning(action: () => void): void {
    if (this.#stopped) this.#held.push(action);
    else action();
  }

  stop(): void {
    this.#stopped = true;
  }

  goOn(): void {
    this.#stopped = false;
    for (const action of this.#held.splice(0)) action();
  }
}

export class Network {
  readonly world: SimulatedClock;
  readonly issued: Issued[] = [];
  readonly #random: SeededRandom;
  readonly #delayMsMax: number;

  constructor(world: SimulatedClock, random: SeededRandom, delayMsMax: number) {
    this.world = world;
    this.#random = random;
    this.#delayMsMax = delayMsMax;
  }

  /** `device` as `host` sees it. */
  attach(host: Host, device: SimulatedDevice): BlockDevice {
    const call = async (perform: () => Promise<void>): Promise<void> => {
      await this.#travel();
      const failure = await perform().then(
        () => undefined,
        (error: unknown) => error,
      );
      await this.#travel();
      await new Promise<void>((resolve) => host.whenRunning(resolve));
      if (failure !== undefined) throw failure;
    };
    return {
      name: device.name,
      sizeBytes: device.sizeBytes,
      exclusive: false,
      read: (offsetBytes, targets) => call(() => device.read(offsetBytes, targets)),
      write: (offsetBytes, sources) => {
        const issuedMs = this.world.monotonicMs();
        const write: Issued = { host, device: device.name, offsetBytes, issuedMs, arrivedMs: undefined };
        this.issued.push(write);
        return call(() => {
          write.arrivedMs = this.world.monotonicMs();
          return device.write(offsetBytes, sources);
        });
      },
      flush: () => call(() => device.flush()),
      discard: () => Promise.resolve(),
      close: () => Promise.resolve(),
    };
  }

  #travel(): Promise<void> {
    const delayMs = this.#random.below(this.#delayMsMax + 1);
    return delayMs === 0 ? Promise.resolve() : new Promise((resolve) => void this.world.after(delayMs, resolve));
  }
}
