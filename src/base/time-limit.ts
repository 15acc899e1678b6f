// Waiting for something that may never end, like a call on a device that does not answer.

import type { Clock } from "./clock.ts";

export interface TimeLimit {
  readonly clock: Clock;
  readonly ms: number;
}

/**
 * What `work` gives. Rejects with `late()` when it takes longer than the limit; the work goes on, and what it gives or throws
 * then is the caller's to look after. Without a limit it takes as long as it takes.
 */
export function withinLimit<T>(work: Promise<T>, limit: TimeLimit | undefined, late: () => Error): Promise<T> {
  if (limit === undefined) return work;
  return new Promise<T>((resolve, reject) => {
    const timer = limit.clock.after(limit.ms, () => reject(late()));
    void work.then(resolve, reject).finally(() => timer.cancel());
  });
}
