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

/** A timer that comes so late tells of a process that did not run meanwhile, stopped or starved. */
const PAUSE_MS = 500;

/**
 * True when a timer that was due at `dueMs` comes after a pause. Answers that came meanwhile were not looked at yet, since timers come
 * before them, so no copy is to blame: its deadline begins anew.
 */
export const wasPaused = (dueMs: number, nowMs: number): boolean => nowMs - dueMs > PAUSE_MS;

/** One call under way on one copy. */
export interface CallOnCopy {
  readonly copy: Copy;
  readonly done: Promise<void>;
}

/**
 * Resolves when every call is over, or its copy has been given up as stalled. Never rejects: failures are on the copies.
 * `isSpareable`: there are others to go on with in place of this copy. One that is not is waited for as long as it takes.
 */
export function allWithinDeadline(
  clock: Clock,
  deadlineMs: number,
  operation: DeviceOperation,
  calls: readonly CallOnCopy[],
  isSpareable: (copy: Copy) => boolean,
): Promise<void> {
  const [only] = calls;
  if (only === undefined) return Promise.resolve();
  const alone = calls.every(({ copy }) => copy === only.copy);
  if (alone && !isSpareable(only.copy)) return Promise.all(calls.map(({ done }) => done)).then(() => undefined);
  return new Promise((resolve) => {
    // Copies whose calls are waited for, in the order of the calls; those that are over, or given up, are not there.
    const pending: (Copy | undefined)[] = calls.map(({ copy }) => copy);
    let left = calls.length;
    let timer: Timer | undefined;
    const waitNoMore = (at: number): void => {
      if (pending[at] === undefined) return;
      pending[at] = undefined;
      if (--left > 0) return;
      timer?.cancel();
      resolve();
    };
    const expireAfter = (delayMs: number, startedMs: number): void => {
      const dueMs = clock.monotonicMs() + delayMs;
      timer = clock.after(delayMs, () => {
        const nowMs = clock.monotonicMs();
        expire(wasPaused(dueMs, nowMs) ? nowMs : startedMs, nowMs);
      });
    };
    const begin = (): void => {
      let leastMs = Infinity;
      for (const copy of pending) if (copy !== undefined) leastMs = Math.min(leastMs, deadlineOf(copy, deadlineMs));
      expireAfter(leastMs, clock.monotonicMs());
    };
    const expire = (startedMs: number, nowMs: number): void => {
      let leastMs = Infinity;
      for (const copy of new Set(pending)) {
        if (copy === undefined) continue;
        const allowedMs = deadlineOf(copy, deadlineMs);
        const leftMs = isSpareable(copy) ? allowedMs - waitedMs(copy, startedMs, nowMs) : Infinity;
        if (leftMs > 0) {
          // Infinite while it is frozen, or nobody stands in for it: it is looked at again then.
          leastMs = Math.min(leastMs, leftMs, allowedMs);
          continue;
        }
        copy.errors.write++;
        copy.fail(new DeviceError(copy.name, operation, 0, "ETIMEDOUT", `no answer within ${allowedMs} ms`));
        for (let at = 0; at < calls.length; at++) if (pending[at] === copy) waitNoMore(at);
      }
      if (left > 0) expireAfter(leastMs, startedMs);
    };
    if (alone) begin();
    for (let at = 0; at < calls.length; at++) {
      const { copy, done } = calls[at] as CallOnCopy;
      void done.then(() => {
        waitNoMore(at);
        if (left > 0 && timer === undefined && copy.failure === undefined && !pending.includes(copy)) begin();
      });
    }
  });
}
