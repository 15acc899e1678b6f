// Work that takes virtual time, bounded: what is not over by then hangs.

import { HEDGE_MS } from "../../src/copies/read-watch.ts";
import type { SimulatedClock } from "../../src/device/simulated-clock.ts";

/** Lets virtual time pass until `work` is over; throws when it takes longer than `limitMs`. */
export async function within<T>(clock: SimulatedClock, limitMs: number, work: Promise<T>): Promise<T> {
  const startMs = clock.monotonicMs();
  let over = false;
  const watched = work.finally(() => (over = true));
  watched.catch(() => undefined);
  for (;;) {
    // Work that needs no time to pass gets all the turns it wants.
    for (let turn = 0; turn < 20 && !over; turn++) await clock.advance(0);
    if (over) return watched;
    if (clock.monotonicMs() - startMs > limitMs) throw new Error(`not over after ${limitMs} ms`);
    await clock.advance(HEDGE_MS / 2);
  }
}
