// One stretch of work on a fresh folder, giving one or several rows of the table.

import type { Place } from "../place.ts";
import type { Figures } from "../tasks.ts";

/** Rates are better when higher, times when lower. */
export type Unit = "MiB/s" | "op/s" | "µs";

export interface Row {
  readonly name: string;
  readonly unit: Unit;
}

export interface Scenario {
  readonly name: string;
  readonly rows: readonly Row[];
  /** The floors take part. */
  readonly onFloors?: boolean;
  /** Why it can't be done on this machine. */
  missing?(): string | undefined;
  /** Figures by the names of the rows. */
  run(place: Place): Promise<Figures>;
}

/** How many times faster `value` is than `base`. */
export function speedRatio(unit: Unit, value: number, base: number): number {
  return unit === "µs" ? base / value : value / base;
}
