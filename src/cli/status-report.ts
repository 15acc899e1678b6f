// What `h2ts status -j` prints: the volume's own report, and for a mounted one the mount and its daemon.

import type { ControlReply, DaemonReport } from "../daemon/messages.ts";
import type { VolumeReport } from "../daemon/volume-report.ts";

export interface StatusReport extends VolumeReport {
  readonly mount?: { readonly directory: string; readonly source: string; readonly transport: string };
  /** `restarts`: how often a worker died or was replaced. */
  readonly daemon?: Omit<DaemonReport, "transport" | "directory" | "source" | "targets" | "handsOverAll">;
  /** Recent lines of the daemon's log. */
  readonly notes: readonly string[];
}

/** Puts a daemon's answer into the shape of the report. */
export function mountedReport(reply: ControlReply, volume: VolumeReport): StatusReport {
  const { daemon } = reply;
  if (!daemon) return { ...volume, notes: reply.notes ?? [] };
  return {
    ...volume,
    mount: { directory: daemon.directory, source: daemon.source, transport: daemon.transport },
    daemon: {
      supervisorPid: daemon.supervisorPid,
      workerPid: daemon.workerPid,
      restarts: daemon.restarts,
      ...(daemon.sparePid !== undefined && { sparePid: daemon.sparePid }),
    },
    notes: reply.notes ?? [],
  };
}
