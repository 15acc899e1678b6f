// The progress bars of -C and --resync: on stderr, only on a terminal, and never in the way of the report.

import { Presets, SingleBar } from "cli-progress";
import type { CheckPhase } from "./check.ts";

const TITLES: Readonly<Record<CheckPhase, string>> = {
  rings: "root rings",
  blocks: "blocks",
  directories: "directories",
  freemap: "freemaps",
  links: "links",
};

export interface Progress {
  readonly onProgress: (phase: CheckPhase, bytes: number) => void;
  stop(): void;
}

const MIB = 2 ** 20;

function newBar(): SingleBar | undefined {
  if (!process.stderr.isTTY) return undefined;
  const format = "{phase} [{bar}] {percentage}% | {value}/{total} MiB | ETA {eta_formatted}";
  return new SingleBar({ format, stream: process.stderr, clearOnComplete: true, hideCursor: true }, Presets.rect);
}

export interface ResyncProgress {
  readonly onProgress: (doneBytes: number, totalBytes: number) => void;
  stop(): void;
}

/** A bar whose end moves as the estimate does; undefined where there is no terminal. */
export function startResyncProgress(): ResyncProgress | undefined {
  const bar = newBar();
  if (bar === undefined) return undefined;
  bar.start(1, 0, { phase: "resync" });
  return {
    onProgress: (doneBytes, totalBytes) => {
      bar.setTotal(Math.max(1, Math.ceil(totalBytes / MIB)));
      bar.update(Math.floor(doneBytes / MIB));
    },
    stop: () => bar.stop(),
  };
}

/** A bar up to `totalBytes`, which is only an estimate; undefined where there is no terminal. */
export function startProgress(totalBytes: number): Progress | undefined {
  const bar = newBar();
  if (bar === undefined) return undefined;
  const totalMib = Math.max(1, Math.ceil(totalBytes / MIB));
  bar.start(totalMib, 0, { phase: "" });
  let bytes = 0;
  return {
    onProgress: (phase, more) => {
      // Every round of check and repair begins at the rings.
      bytes = phase === "rings" ? 0 : bytes + more;
      bar.update(Math.min(totalMib, Math.floor(bytes / MIB)), { phase: TITLES[phase] });
    },
    stop: () => bar.stop(),
  };
}
