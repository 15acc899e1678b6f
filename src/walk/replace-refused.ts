// A node of a copy was to be replaced, the copy had left sync for that, and then it could not be: the copy goes on with the devices
// that it had, which are still open, and is brought what it missed.

import { messageOf } from "../base/thrown.ts";
import type { Copy } from "../copies/copy.ts";
import { CopiesError } from "../copies/errors.ts";
import { freshCopy } from "../copies/reopen.ts";
import type { Volume } from "../volume/volume.ts";
import { claimed, rejoin } from "./bring-back.ts";
import type { Caretaker } from "./caretaker.ts";
import { LastWord } from "./meanwhile.ts";
import { inTime } from "./take-out.ts";

/**
 * Begins to catch up `old`, which was in use before its replacement was refused with `error`. Returns what to tell the operator:
 * that, and also how the copy is brought back where that can't be begun.
 */
export async function afterRefusal(volume: Volume, caretaker: Caretaker, old: Copy, error: unknown): Promise<unknown> {
  const { index, name } = old;
  // It never left, or something else was done with it meanwhile. At the next mount it is taken back anyway.
  if (volume.copies.copy(index) !== old || old.standing !== "faulted" || caretaker.closed) return error;
  try {
    if (old.failure !== undefined) throw old.failure;
    await goBack(volume, caretaker, old);
    return error;
  } catch {
    const kind = error instanceof CopiesError ? error.kind : "unfinished";
    const what = `copy ${index} is out of sync (h2ts online DIR ${index} brings it back), and its node was not replaced`;
    return new CopiesError(kind, name, `${what}: ${messageOf(error)}`);
  }
}

async function goBack(volume: Volume, caretaker: Caretaker, old: Copy): Promise<void> {
  const word = new LastWord(volume, old.index);
  await caretaker.stop(old.index);
  // A late write would land on a place that was given to something else meanwhile.
  await inTime(old, old.drained(), volume.copies.clock);
  const fresh = freshCopy(old);
  fresh.replacedNodes = old.replacedNodes;
  const ring = await claimed(volume, fresh, { word, old });
  await rejoin(volume, caretaker, fresh, ring, {});
}
