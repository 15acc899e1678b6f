// fsck.h2ts --resync: opens the volume for writing without a mount and has every copy at hand caught up; with a forced
// master, from that copy's last complete root. Prints nothing; the command does.
// Invariants: I2 (it writes as the daemon does), I6 (a copy that went another way is left alone), I8 (stopped at any point,
// it goes on the next time).

import type { Clock } from "../src/base/clock.ts";
import type { CopySet } from "../src/copies/copy-set.ts";
import { KIB } from "../src/format/geometry.ts";
import { logDroppedLine } from "../src/volume/log-dropped.ts";
import type { Volume } from "../src/volume/volume.ts";
import { Caretaker } from "../src/walk/caretaker.ts";
import { ExitBit } from "./fsck.ts";
import { openWritable } from "./open-writable.ts";

export interface ResyncOptions {
  readonly clock: Clock;
  /** Index of the copy whose last complete root the volume goes on from, whatever the others say. */
  readonly forcedMaster?: number;
  readonly signal?: AbortSignal;
  /** Told now and then how far it is. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

export interface ResyncOutcome {
  /** What became of each copy that was not in sync, a line each, and a last line with the verdict. */
  readonly lines: readonly string[];
  readonly exitCode: number;
}

const PROGRESS_MS = 200;

/** Throws DeviceError, CopiesError or FsError when the volume can't be opened or written. */
export async function resyncVolume(copies: CopySet, options: ResyncOptions): Promise<ResyncOutcome> {
  const { clock, forcedMaster, signal } = options;
  const notes: string[] = [];
  const onLogDropped = (dropped: number, waiting: number, reason: string): void =>
    void notes.push(logDroppedLine(dropped, waiting, reason));
  const volume = await openWritable(copies, {
    clock,
    onLogDropped,
    ...(forcedMaster !== undefined && { forcedMaster }),
  });
  const caretaker = new Caretaker(volume, { clock, onNote: (line) => notes.push(line) });
  const before = volume.members.inSync;
  const stop = (): void => void caretaker.close();
  signal?.addEventListener("abort", stop);
  const timer = setInterval(() => options.onProgress?.(...progressOf(volume, caretaker)), PROGRESS_MS);
  try {
    caretaker.start();
    await caretaker.settled();
  } finally {
    clearInterval(timer);
    signal?.removeEventListener("abort", stop);
    await caretaker.close();
    await volume.close();
  }
  signal?.throwIfAborted();
  return outcomeOf(volume, notes, before);
}

function outcomeOf(volume: Volume, notes: readonly string[], before: number): ResyncOutcome {
  const { inSync } = volume.members;
  const left = volume.copies.copies.filter((copy) => (inSync & copy.bit) === 0);
  const corrected = (inSync & ~before) !== 0 ? ExitBit.CORRECTED : 0;
  const lines = left.map((copy) => {
    const reason = copy.noRoom ? "it has no room for what it lacks" : (copy.failure?.message ?? copy.reason ?? "");
    const advice =
      copy.standing === "divergent" ? "; it went on without the others: h2ts resolve gives one of the two up" : "";
    return `copy ${copy.index} (${copy.name}) is ${copy.standing}: ${reason}${advice}`;
  });
  const verdict =
    left.length > 0 ? `${left.length} of the copies at hand not in sync` : "every copy at hand is in sync";
  return {
    lines: [...notes, ...lines, `volume ${volume.title}: ${verdict}`],
    exitCode: corrected | (left.length > 0 ? ExitBit.UNCORRECTED : 0),
  };
}

/** Bytes brought, and those with what is still to be brought, which is an estimate. */
function progressOf(volume: Volume, caretaker: Caretaker): [doneBytes: number, totalBytes: number] {
  const used = new Map(volume.statfs().copies.map(({ index, usedKib }) => [index, usedKib]));
  let doneBytes = 0;
  let leftBytes = 0;
  for (const { copyIndex, progress } of caretaker.catchUps.values()) {
    doneBytes += progress.bytes;
    const lackingKib = (used.get(volume.copies.master) ?? 0) - (used.get(copyIndex) ?? 0);
    leftBytes += Math.max(0, lackingKib) * KIB;
  }
  return [doneBytes, doneBytes + leftBytes];
}
