// How much work each row is.

export interface Amounts {
  /** Of the file written and read in order. */
  readonly sequentialMib: number;
  readonly randomMib: number;
  readonly randomWrites: number;
  readonly randomReads: number;
  readonly smallFiles: number;
  readonly treeFiles: number;
  readonly fsyncs: number;
  readonly inserts: number;
  readonly lookups: number;
  readonly warmStats: number;
}

export const FULL: Amounts = {
  sequentialMib: 1024,
  randomMib: 256,
  randomWrites: 20_000,
  randomReads: 4000,
  smallFiles: 10_000,
  treeFiles: 4000,
  fsyncs: 1000,
  inserts: 2000,
  lookups: 20_000,
  warmStats: 200_000,
};

/** For a look at whether everything works. */
export const QUICK: Amounts = {
  sequentialMib: 128,
  randomMib: 32,
  randomWrites: 4000,
  randomReads: 1000,
  smallFiles: 2000,
  treeFiles: 500,
  fsyncs: 100,
  inserts: 100,
  lookups: 5000,
  warmStats: 50_000,
};
