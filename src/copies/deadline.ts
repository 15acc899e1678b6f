// How long the copies wait for one another. A call goes to several copies at once; the deadline counts from the moment the
// first of them is done, so that a slow machine slows all copies down and drops none, and a copy that stalls holds
// nothing up for longer (I9). Where all calls go to one copy they count from their own beginning, if there is another copy in use
// to go on with; the last one is waited for as long as it takes.

import type { Clock, Timer } from "../base/clock.ts";
import { DeviceError, type DeviceOperation } from "../device/device.ts";
import type { Copy } from "./copy.ts";

export const DEADLINE_MS_DEFAULT = 5000;

/** One that has to find its way back to a device may take as long as that was given. */
export const deadlineOf = ({ device }: Copy, deadlineMs: number): number =>
  Math.max(deadlineMs, device.patienceMs ?? 0);

/** How long a call begun at `startedMs` has been waited for. While its copy is frozen nobody is to blame. */
export const waitedMs = (copy: Copy, startedMs: number, nowMs: number): number =>
  nowMs - Math.max(startedMs, copy.servingSinceMs);

/** One call under way on one copy. */
export interface CallOnCopy {
  readonly copy: Copy;
  readonly done: Promise<void>;
}

/**
 * Resolves when every call is over, or its copy has been given up as stalled. Never rejects: failures are on the copies.
 * `spareable`: when all calls are on one copy, there are others to go on with: then that copy has a deadline, too.
 */
export function allWithinDeadline(
  clock: Clock,
  deadlineMs: number,
  operation: DeviceOperation,
  calls: readonly CallOnCopy[],
  spareable: boolean,
): Promise<void> {
  const [only] = calls;
  if (only === undefined) return Promise.resolve();
  const alone = calls.every(({ copy }) => copy === only.copy);
  if (alone && !spareable) return Promise.all(calls.map(({ done }) => done)).then(() => undefined);
  return new Promise((resolve) => {
    const pending = new Map<Copy, number>();
    for (const { copy } of calls) pending.set(copy, (pending.get(copy) ?? 0) + 1);
    let timer: Timer | undefined;
    const finish = (): void => {
      timer?.cancel();
      resolve();
    };
    const begin = (): void => {
      const startedMs = clock.monotonicMs();
      const expire = (): void => {
        const nowMs = clock.monotonicMs();
        let leastMs = Infinity;
        for (const copy of pending.keys()) {
          const allowedMs = deadlineOf(copy, deadlineMs);
          const leftMs = allowedMs - waitedMs(copy, startedMs, nowMs);
          if (leftMs > 0) {
            // Infinite while it is frozen: it is looked at again then.
            leastMs = Math.min(leastMs, leftMs, allowedMs);
            continue;
          }
          pending.delete(copy);
          copy.errors.write++;
          copy.fail(new DeviceError(copy.name, operation, 0, "ETIMEDOUT", `no answer within ${allowedMs} ms`));
        }
        if (pending.size === 0) return finish();
        timer = clock.after(leastMs, expire);
      };
      timer = clock.after(Math.min(...[...pending.keys()].map((copy) => deadlineOf(copy, deadlineMs))), expire);
    };
    if (alone) begin();
    for (const { copy, done } of calls) {
      void done.then(() => {
        const left = (pending.get(copy) ?? 0) - 1;
        if (left > 0) return void pending.set(copy, left);
        pending.delete(copy);
        if (pending.size === 0) finish();
        else if (copy.failure === undefined && timer === undefined) begin();
      });
    }
  });
}
