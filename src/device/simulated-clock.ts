// Virtual time: nothing happens until the test says how much of it passes.

import type { Clock, Timer, Timespec } from "../base/clock.ts";

interface Alarm {
  readonly dueMs: number;
  readonly order: number;
  readonly action: () => void;
}

export class SimulatedClock implements Clock {
  #nowMs = 0;
  #order = 0;
  readonly #alarms = new Set<Alarm>();

  now(): Timespec {
    const ms = 1_000_000_000_000 + this.#nowMs;
    return { sec: Math.floor(ms / 1000), nsec: Math.floor((ms % 1000) * 1e6) };
  }

  monotonicMs(): number {
    return this.#nowMs;
  }

  after(delayMs: number, action: () => void): Timer {
    const alarm: Alarm = { dueMs: this.#nowMs + Math.max(0, delayMs), order: this.#order++, action };
    this.#alarms.add(alarm);
    return { cancel: () => void this.#alarms.delete(alarm) };
  }

  /** The process does not run for so long, stopped or starved: alarms due meanwhile go off when it does again, before anything else. */
  pause(durationMs: number): void {
    this.#nowMs += durationMs;
  }

  /** Lets `durationMs` pass; alarms go off in the order they are due. Promise reactions run between them. */
  async advance(durationMs: number): Promise<void> {
    const untilMs = this.#nowMs + durationMs;
    for (;;) {
      let next: Alarm | undefined;
      for (const alarm of this.#alarms) {
        if (alarm.dueMs > untilMs) continue;
        if (next === undefined || alarm.dueMs < next.dueMs || (alarm.dueMs === next.dueMs && alarm.order < next.order))
          next = alarm;
      }
      if (next === undefined) break;
      this.#alarms.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.dueMs);
      next.action();
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    this.#nowMs = untilMs;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
