// Whether a harness notices a bug that was put in on purpose. It is in while the workload runs, or while what is left of that is
// judged: a bug of the first kind is gone by then, so that nothing but what it did is judged. The workload itself has to get
// through, and what is found has to be said of the volume: else the fault is one of the planting.

import { vi } from "vitest";
import type { CrashOutcome } from "./power-cut.ts";

export interface Hunt<Recording> {
  readonly seeds: number;
  /** Puts in a bug of what writes. */
  readonly writing?: () => void;
  /** Puts in a bug of what reads. */
  readonly reading?: () => void;
  /** Takes out whatever was put in. */
  readonly mend?: () => void;
  readonly record: (seed: number) => Promise<Recording>;
  readonly judge: (recording: Recording) => Promise<CrashOutcome>;
}

const OF_THE_PLANTING = /(Type|Range|Reference)Error: /;

/** True when some crash of some seed goes wrong. */
export async function isCaught<Recording>(hunt: Hunt<Recording>): Promise<boolean> {
  const { seeds, writing, reading, mend = () => vi.restoreAllMocks(), record, judge } = hunt;
  for (let seed = 1; seed <= seeds; seed++) {
    writing?.();
    const recording = await record(seed);
    mend();
    reading?.();
    const { failures } = await judge(recording);
    mend();
    const fault = failures.find((failure) => OF_THE_PLANTING.test(failure));
    if (fault !== undefined) throw new Error(fault);
    if (failures.length > 0) return true;
  }
  return false;
}
