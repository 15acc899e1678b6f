// The work in the background for the operator's report: how each copy's catching up goes, and the scrub, under way or the last
// one, which the root remembers over mounts.

import { KIB } from "../format/geometry.ts";
import { rootScrub, rootScrubCursor } from "../format/root-block.ts";
import type { Volume } from "../volume/volume.ts";
import type { Caretaker } from "../walk/caretaker.ts";
import type { CopyReport, ScanReport } from "./volume-report.ts";

/** Without a caretaker the volume is at rest. */
export function describeScans(
  volume: Volume,
  caretaker: Caretaker | undefined,
  copies: readonly CopyReport[],
): ScanReport[] {
  const resyncs = [...(caretaker?.catchUps.values() ?? [])].map(
    ({ copyIndex, startedMs, endedMs, progress, end }): ScanReport => ({
      activity: "resync",
      copy: copyIndex,
      state: end ?? "running",
      doneBytes: progress.bytes,
      leftBytes: copies.find(({ index }) => index === copyIndex)?.missingBytes ?? 0,
      seconds: ((endedMs ?? volume.copies.clock.monotonicMs()) - startedMs) / 1000,
    }),
  );
  const scrub = describeScrub(volume, caretaker);
  return scrub === undefined ? resyncs : [...resyncs, scrub];
}

function describeScrub(volume: Volume, caretaker: Caretaker | undefined): ScanReport | undefined {
  const { view } = volume.rootImage;
  const last = caretaker?.lastScrub;
  const scrub = caretaker?.scrub ?? last?.scrub;
  const record = caretaker?.scrub?.record ?? rootScrub(view);
  const { finishedSec, errors, repaired, lost } = record;
  let state: ScanReport["state"];
  if (caretaker?.scrub !== undefined) state = caretaker.scrub.isPaused ? "paused" : "running";
  else if (last !== undefined) state = last.end;
  else if (rootScrubCursor(view) !== 0) state = "stopped";
  else if (finishedSec !== 0) state = "complete";
  else if (record.blocks !== 0) state = "cancelled";
  else return undefined;
  return {
    activity: "scrub",
    state,
    doneBytes: record.bytes,
    leftBytes: state === "complete" ? 0 : Math.max(0, bytesToScrub(volume) - record.bytes),
    seconds: (scrub?.speed.ms ?? 0) / 1000,
    sinceMountBytes: scrub?.speed.bytes ?? 0,
    errors,
    repaired,
    lost,
    ...(finishedSec !== 0 && { finishedSec }),
  };
}

/** An estimate: what the copies in sync have in use, by their freemaps. */
function bytesToScrub(volume: Volume): number {
  const read = volume.statfs().copies.filter(({ index }) => (volume.members.inSync & (1 << index)) !== 0);
  return read.reduce((sum, { usedKib }) => sum + usedKib, 0) * KIB;
}
