// One copy for the operator's report: at hand as it stands, or missing as the root remembers it.

import { formatUuid } from "../base/uuid.ts";
import type { Copy, Standing } from "../copies/copy.ts";
import { KIB } from "../format/geometry.ts";
import { type LastSeen, MemberFlag } from "../format/last-seen.ts";
import type { Volume } from "../volume/volume.ts";
import type { CopyReport, CopyState, NodeReport } from "./volume-report.ts";

const STATES: Readonly<Record<Standing, CopyState>> = {
  "in-sync": "ONLINE",
  syncing: "SYNCING",
  faulted: "FAULTED",
  offline: "OFFLINE",
  stale: "STALE",
  unknown: "UNKNOWN",
  blank: "BLANK",
  divergent: "DIVERGENT",
  leaving: "LEAVING",
};

function stateOf(copy: Copy | undefined, seen: LastSeen): CopyState {
  const isOffline = (seen.flags & MemberFlag.OFFLINE) !== 0;
  if (copy === undefined) return isOffline ? "OFFLINE" : "MISSING";
  if (copy.failure !== undefined) return "FAULTED";
  if (copy.frozenNodes.length > 0) return "FROZEN";
  if (copy.standing === "offline") return isOffline ? "OFFLINE" : "SUSPENDED";
  if (copy.standing === "syncing" && copy.untrusted) return "UNKNOWN";
  return copy.standing === "syncing" && copy.noRoom ? "NO-ROOM" : STATES[copy.standing];
}

function noteOf(copy: Copy | undefined, seen: LastSeen): string | undefined {
  if (copy === undefined) return seen.sequence === 0 ? "never seen" : `last seen with root ${seen.sequence}`;
  if (copy.frozenNodes.length > 0) return frozenNote(copy);
  if (copy.suspendedNode !== undefined)
    return `${nodeName(copy, copy.suspendedNode)} is suspended; the others are open`;
  if (copy.noRoom) return "what it lacks does not fit beside its last complete state";
  if (copy.standing === "syncing" && copy.failure === undefined) {
    return copy.untrusted
      ? "gets what is new; what it had before is not trusted until it was checked"
      : "is being caught up";
  }
  return copy.failure?.message ?? (copy.standing === "in-sync" ? undefined : copy.reason);
}

const nodeName = (copy: Copy, position: number): string => `node ${copy.index}/${position}`;

function frozenNote(copy: Copy): string {
  const whole = copy.frozenNodes.length === copy.nodes.length;
  const which = whole ? "it" : copy.frozenNodes.map((position) => nodeName(copy, position)).join(", ");
  return `${which} is frozen: whatever needs it waits`;
}

function nodesOf(copy: Copy): NodeReport[] {
  return copy.nodes.map(({ device, startBytes }, position): NodeReport => {
    const report = device.report?.();
    const { name: target, sizeBytes } = device;
    const connection = report?.connection;
    return {
      target,
      kind: report?.kind ?? "unknown",
      startBytes,
      sizeBytes,
      ...(copy.frozenNodes.includes(position) && { held: "FROZEN" as const }),
      ...(copy.suspendedNode === position && { held: "SUSPENDED" as const }),
      ...(connection !== undefined && { connection: { ...connection, addresses: [...connection.addresses] } }),
    };
  });
}

/** It was given up for calls that have not ended; what goes to a server ends with this process. */
function isStuck(copy: Copy | undefined): copy is Copy {
  return (
    copy?.stalled === true && copy.inFlight > 0 && copy.nodes.some(({ device }) => device.distanceMs === undefined)
  );
}

/** `usedKib` on this copy and on the master, by their freemaps. */
export function describeCopy(
  volume: Volume,
  index: number,
  seen: LastSeen,
  usedKib: number,
  masterUsedKib: number,
): CopyReport {
  const copy = volume.copies.copy(index);
  const state = stateOf(copy, seen);
  const { repaired, ...errors } = volume.countersOf(index);
  const note = noteOf(copy, seen);
  return {
    index,
    uuid: formatUuid(seen.copyUuid),
    state,
    role: state === "ONLINE" && index === volume.copies.master ? "master" : "copy",
    targets: copy === undefined ? (seen.target === "" ? [] : [seen.target]) : [...copy.targets],
    nodes: copy === undefined ? [] : nodesOf(copy),
    sizeBytes: seen.sizeKib * KIB,
    usedBytes: usedKib * KIB,
    errors,
    repaired,
    ...(note !== undefined && { note }),
    ...(isStuck(copy) && { callsStuck: copy.inFlight }),
    ...(state !== "ONLINE" && { missingBytes: Math.max(0, masterUsedKib - usedKib) * KIB }),
  };
}
