// How many distinct crash states the ordinary test run must go through, more than 20,000 together. Each number is asserted by the
// tests it names, which run in different processes; seeds never share a state, since the identities on their media differ.

export const ORDINARY_STATES = {
  /** power-cut-large.test.ts: files of up to 150 KB, long workloads. */
  largeFiles: 5500,
  /** power-cut-small.test.ts: small files, many commits. */
  smallFiles: 13_000,
  /** copy-crashes.test.ts. */
  leavingAndReturning: 2500,
} as const;
