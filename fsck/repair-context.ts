// What the steps of a repair are given, and what they say of what did not work.

import type { Clock } from "../src/base/clock.ts";
import type { CopySet } from "../src/copies/copy-set.ts";
import type { OpenOptions } from "../src/volume/open.ts";
import type { Volume } from "../src/volume/volume.ts";
import type { Checked } from "./check.ts";
import type { Finding, FindingList } from "./finding-list.ts";
import type { Rescue } from "./rescue.ts";

/** What becomes of the log of a volume that is opened. */
type LogOptions = Pick<OpenOptions, "dropLostLog" | "abandonLog" | "onLogDropped" | "writesEarly" | "beforeReplay">;

export interface RepairContext {
  readonly copies: CopySet;
  readonly clock: Clock;
  /** Opens the volume, on parts made anew where those on media will not do. */
  readonly openWritable: (rescue: Rescue & LogOptions) => Promise<Volume>;
  /** What no copy can read, and what goes on from that, is given up. */
  readonly abandon: boolean;
  /** What a repair gave up for good. */
  readonly losses: FindingList;
  /** Writes damaged node headers again. */
  readonly rewriteHeaders: () => Promise<void>;
}

/** What a check saw, and which of its findings are to be repaired. */
export interface LookedAt {
  readonly wanted: readonly Finding[];
  readonly found: readonly Finding[];
  readonly checked: Checked;
}

/** One repair that did not work, in one line. */
export interface RepairFailure {
  readonly finding: Finding | undefined;
  readonly message: string;
}
