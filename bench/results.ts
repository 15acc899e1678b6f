// What was measured, run by run, and what follows from it. Two peers are compared within each run, since a run sees one mood of the
// machine, and the median of those ratios counts.

import { type Row, speedRatio } from "./scenarios/scenario.ts";

export function median(values: readonly number[]): number | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle];
  return sorted.length === 0 ? undefined : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
}

export class Results {
  /** By row, by peer: one value for each run, in order; undefined where it failed. */
  readonly #values = new Map<string, Map<string, (number | undefined)[]>>();
  /** What failed, and what is not to be relied on. */
  readonly notes: string[] = [];

  add(row: string, peer: string, run: number, value: number | undefined): void {
    const byPeer = this.#values.get(row) ?? new Map<string, (number | undefined)[]>();
    this.#values.set(row, byPeer);
    const runs = byPeer.get(peer) ?? [];
    byPeer.set(peer, runs);
    runs[run] = value;
  }

  values(row: string, peer: string): number[] {
    return this.#runs(row, peer).filter((value) => value !== undefined);
  }

  median(row: string, peer: string): number | undefined {
    return median(this.values(row, peer));
  }

  /** How many times as fast `peer` is as `base`. */
  ratio(row: Row, peer: string, base: string): number | undefined {
    const others = this.#runs(row.name, base);
    const ratios = this.#runs(row.name, peer).flatMap((value, run) => {
      const other = others[run];
      return value === undefined || other === undefined ? [] : [speedRatio(row.unit, value, other)];
    });
    return median(ratios);
  }

  #runs(row: string, peer: string): readonly (number | undefined)[] {
    return this.#values.get(row)?.get(peer) ?? [];
  }
}

/** Geometric mean; undefined of nothing. */
export function geometricMean(values: readonly number[]): number | undefined {
  if (values.length === 0) return undefined;
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}
