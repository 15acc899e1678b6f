// What becomes of a copy that refused a write or a flush. For now the whole call fails and the volume turns read-only,
// unacknowledged (I2); dropping the copy and going on with the rest under a new epoch has its place here and only here.

import { type CopyFailure, CopyWriteError } from "./errors.ts";

/** Called when all I/O of a call is over, with what failed in it. */
export function decideOnFailures(failures: readonly CopyFailure[]): void {
  if (failures.length > 0) throw new CopyWriteError(failures);
}
