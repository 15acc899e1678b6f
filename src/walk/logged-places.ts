// The places that a log makes use of on one copy alone: its segments, and the blocks that its records name (I3). No bitmap on
// media has them.

import { FsError } from "../base/errno.ts";
import type { ReadableCopy } from "../copies/lone-copy.ts";
import { DATA_WINDOW_BYTES, KIB } from "../format/geometry.ts";
import { LOG_SEGMENT_KIB } from "../format/log-frame.ts";
import { readLog } from "../log/read-log.ts";
import { readRecords } from "../ops/record.ts";

export interface LoggedPlace {
  readonly kib: number;
  readonly sizeKib: number;
}

/** Those of the log that goes on from the root in `root`, as far as a copy has it. */
export async function loggedPlaces(from: ReadableCopy, root: DataView): Promise<LoggedPlace[]> {
  const { copy } = from;
  const found = await readLog(root, [from], true);
  if (found === undefined) return [];
  const places: LoggedPlace[] = (found.segments[copy.index] ?? []).map((kib) => ({ kib, sizeKib: LOG_SEGMENT_KIB }));
  try {
    for (const { early } of readRecords(found.stream)) {
      for (const { pointers } of early) {
        places.push({ kib: pointers[copy.index] as number, sizeKib: DATA_WINDOW_BYTES / KIB });
      }
    }
  } catch (error) {
    // What makes no sense is where a replay would end, too.
    if (!(error instanceof FsError)) throw error;
  }
  return places.filter(({ kib, sizeKib }) => kib !== 0 && copy.placeRefusal(kib, sizeKib * KIB) === undefined);
}
