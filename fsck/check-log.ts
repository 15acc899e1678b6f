// The log of the newest root: operations that were completed after it and are to be carried out again. A mount does that,
// and so does a repair, before anything else is looked at.

import { FsError } from "../src/base/errno.ts";
import type { CopySet } from "../src/copies/copy-set.ts";
import type { RingRoot } from "../src/copies/ring.ts";
import { readLog } from "../src/log/read-log.ts";
import { readRecords } from "../src/ops/record.ts";
import type { FindingList } from "./finding-list.ts";

/** Says what is in the log, or that it can't be read. */
export async function checkLog(copies: CopySet, newest: RingRoot, list: FindingList): Promise<void> {
  const inSync = copies.copies.filter(({ standing }) => standing === "in-sync");
  try {
    const found = await readLog(
      newest.view,
      inSync.map((copy) => copies.alone(copy)),
    );
    const operations =
      found === undefined
        ? 0
        : [...readRecords(found.stream)].filter(({ operation }) => operation !== undefined).length;
    if (operations === 0) return;
    const them = operations === 1 ? "1 completed operation is" : `${operations} completed operations are`;
    list.add("log-pending", `${them} in the log of root ${newest.sequence}; a mount carries them out`, {
      repair: { kind: "log" },
    });
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    list.add("log-lost", `the log of root ${newest.sequence}: ${error.message}`, { repair: { kind: "log" } });
  }
}
