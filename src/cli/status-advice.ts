// What is wrong with a volume and what to do about it: the worst thing only, in two sentences.

import type { CopyReport, CopyState } from "../daemon/volume-report.ts";
import { isRemoteTarget, splitRow } from "../nbd/target.ts";
import type { StatusReport } from "./status-report.ts";

export interface Advice {
  readonly status: string;
  readonly action: string;
}

interface CopyAdvice {
  readonly state: CopyState;
  /** Said of "Copy 1", or "Copies 1, 2". */
  readonly status: string;
  /** COPY stands for the index, DIR for the mount point. */
  readonly action: string;
  /** The same where each such copy is on servers, which the daemon asks again by itself. */
  readonly remoteAction?: string;
}

const ASKED_AGAIN = "See to its server. It is asked for again by itself; 'h2ts online DIR COPY' does so at once.";

/** Worst first. */
const COPIES: readonly CopyAdvice[] = [
  {
    state: "DIVERGENT",
    status: "went on without the others and holds another history.",
    action:
      "Mount it alone to see what it has, then give one of the two up: 'h2ts resolve --keep COPY --discard COPY'.",
  },
  {
    state: "FROZEN",
    status: "is frozen: programs wait for what only it could give or take.",
    action: "'h2ts resume DIR COPY' lets everything go on; so does an unmount.",
  },
  {
    state: "FAULTED",
    status: "was dropped after an error; the volume goes on without it.",
    action: "See to its medium, then 'h2ts online DIR COPY'. What it lacks is brought to it.",
    remoteAction: ASKED_AGAIN,
  },
  {
    state: "NO-ROOM",
    status: "has no room for what it lacks beside its last complete state.",
    action: "Delete files, or give that state up with 'h2ts online DIR COPY --no-anchor'.",
  },
  {
    state: "MISSING",
    status: "is missing; the volume goes on without it.",
    action: "Attach its medium, then 'h2ts online DIR COPY', with its TARGET if that is a new one.",
    remoteAction: ASKED_AGAIN,
  },
  {
    state: "BLANK",
    status: "holds no valid root block.",
    action: "It gets what it lacks, but does not count as in sync before every block it had was checked.",
  },
  {
    state: "UNKNOWN",
    status: "is in a state that can't be told from its roots.",
    action: "It gets what it lacks, but does not count as in sync before every block it had was checked.",
  },
  {
    state: "STALE",
    status: "missed the last commits.",
    action: "Mounted read-write, it is caught up by itself; 'fsck.h2ts --resync' does it without a mount.",
  },
  { state: "OFFLINE", status: "was taken offline.", action: "'h2ts online DIR COPY' brings it back." },
  {
    state: "SUSPENDED",
    status: "is suspended.",
    action: "'h2ts resume DIR COPY' brings it back; so does the next mount.",
  },
  {
    state: "SYNCING",
    status: "is being caught up; the volume is usable meanwhile.",
    action: "Nothing needs to be done; 'h2ts wait -t resync DIR' returns when it is in sync.",
  },
];

export function advice(report: StatusReport): Advice | undefined {
  if (report.state === "READONLY") {
    return {
      status: `The volume went read-only by itself: ${report.reason ?? "a copy failed"}.`,
      action: "See to the copy named, unmount, run 'fsck.h2ts', mount again. What fsync acknowledged is safe.",
    };
  }
  if (report.dataErrors > 0) {
    const blocks = report.dataErrors === 1 ? "1 block has" : `${report.dataErrors} blocks have`;
    return {
      status: `${blocks} no good bytes left on any copy; reading there fails with EIO.`,
      action: "Run 'fsck.h2ts -n' on the unmounted volume to see what is lost, and restore those files from a backup.",
    };
  }
  for (const { state, status, action: local, remoteAction } of COPIES) {
    const copies = report.copies.filter((copy) => copy.state === state);
    if (copies.length === 0) continue;
    const concerned = copies.map(({ index }) => index);
    // Nobody asks for the copies of a volume that is not mounted.
    const comeBack = report.mount !== undefined && copies.every(isOnServers);
    const action = comeBack ? (remoteAction ?? local) : local;
    return {
      status: `${concerned.length === 1 ? "Copy" : "Copies"} ${concerned.join(", ")} ${status}`,
      action: action
        .replaceAll("DIR", report.mount?.directory ?? "DIR")
        .replaceAll("COPY", concerned.length === 1 ? String(concerned[0]) : "COPY"),
    };
  }
  const bad = report.copies.filter((copy) => sum(copy.errors) > 0).map(({ index }) => `copy ${index}`);
  if (bad.length > 0) {
    return {
      status: `${bad.join(", ")} returned wrong bytes or errors; another copy served them, so no data is lost.`,
      action: `Watch the medium and replace it if the counts rise; ${readsAll(report)} reads every block${startsAnew(report)}.`,
    };
  }
  if (report.reason !== undefined) return { status: report.reason, action: "Nothing needs to be done." };
  return undefined;
}

const readsAll = ({ mount }: StatusReport): string =>
  mount === undefined ? "'fsck.h2ts -n -f'" : `'h2ts scrub ${mount.directory}'`;

const startsAnew = ({ mount }: StatusReport): string =>
  mount === undefined ? "" : `, 'h2ts clear ${mount.directory}' counts anew`;

const isOnServers = ({ targets }: CopyReport): boolean => targets.flatMap(splitRow).some(isRemoteTarget);

const sum = (errors: CopyReport["errors"]): number => errors.read + errors.write + errors.checksum;
