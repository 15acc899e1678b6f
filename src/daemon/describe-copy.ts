// One copy for the operator's report: at hand as it stands, or missing as the root remembers it.

import { formatUuid } from "../base/uuid.ts";
import type { Copy, Standing } from "../copies/copy.ts";
import type { BlockDevice } from "../device/device.ts";
import { Row } from "../device/row.ts";
import { KIB } from "../format/geometry.ts";
import { type LastSeen, MemberFlag, rootCounters } from "../format/root-block.ts";
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
  if (copy.standing === "offline") return isOffline ? "OFFLINE" : "SUSPENDED";
  if (copy.standing === "syncing" && copy.untrusted) return "UNKNOWN";
  return copy.standing === "syncing" && copy.noRoom ? "NO-ROOM" : STATES[copy.standing];
}

function noteOf(copy: Copy | undefined, seen: LastSeen): string | undefined {
  if (copy === undefined) return seen.sequence === 0 ? "never seen" : `last seen with root ${seen.sequence}`;
  if (copy.noRoom) return "what it lacks does not fit beside its last complete state";
  if (copy.standing === "syncing" && copy.failure === undefined) {
    return copy.untrusted
      ? "gets what is new; what it had before is not trusted until it was checked"
      : "is being caught up";
  }
  return copy.failure?.message ?? (copy.standing === "in-sync" ? undefined : copy.reason);
}

function nodesOf({ device }: Copy): NodeReport[] {
  const nodes: readonly BlockDevice[] = device instanceof Row ? device.nodes : [device];
  let startBytes = 0;
  return nodes.map((node) => {
    const report = node.report?.();
    const { name: target, sizeBytes } = node;
    const connection = report?.connection;
    const described: NodeReport = {
      target,
      kind: report?.kind ?? "unknown",
      startBytes,
      sizeBytes,
      ...(connection !== undefined && { connection: { ...connection, addresses: [...connection.addresses] } }),
    };
    startBytes += sizeBytes;
    return described;
  });
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
  const { repaired, ...errors } =
    copy === undefined ? rootCounters(volume.rootImage.view, index) : { ...copy.errors, repaired: copy.repaired };
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
    ...(state !== "ONLINE" && { missingBytes: Math.max(0, masterUsedKib - usedKib) * KIB }),
  };
}
