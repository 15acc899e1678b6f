// The progress bar of -C: on stderr, only on a terminal, and never in the way of the report.

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

/** A bar up to `totalBytes`, which is only an estimate; undefined where there is no terminal. */
export function startProgress(totalBytes: number): Progress | undefined {
  if (!process.stderr.isTTY) return undefined;
  const format = "{phase} [{bar}] {percentage}% | {value}/{total} MiB | ETA {eta_formatted}";
  const bar = new SingleBar({ format, stream: process.stderr, clearOnComplete: true, hideCursor: true }, Presets.rect);
  const totalMib = Math.max(1, Math.ceil(totalBytes / 2 ** 20));
  bar.start(totalMib, 0, { phase: "" });
  let bytes = 0;
  return {
    onProgress: (phase, more) => {
      // Every round of check and repair begins at the rings.
      bytes = phase === "rings" ? 0 : bytes + more;
      bar.update(Math.min(totalMib, Math.floor(bytes / 2 ** 20)), { phase: TITLES[phase] });
    },
    stop: () => bar.stop(),
  };
}
