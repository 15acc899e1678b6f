// Makes the operator's report of an open volume.

import { formatUuid } from "../base/uuid.ts";
import { CHECK_NAMES } from "../format/check.ts";
import { COPIES_MAX, KIB } from "../format/geometry.ts";
import { rootLastSeen } from "../format/root-members.ts";
import type { Volume } from "../volume/volume.ts";
import type { Caretaker } from "../walk/caretaker.ts";
import { describeCopy } from "./describe-copy.ts";
import { describeScans } from "./describe-scans.ts";
import type { CopyReport, VolumeReport } from "./volume-report.ts";

/** The state of `volume` now; from memory, it asks no device. */
export function describeVolume(volume: Volume, caretaker?: Caretaker): VolumeReport {
  const space = volume.statfs();
  const used = new Map(space.copies.map((copy) => [copy.index, copy.usedKib]));
  const masterUsedKib = used.get(volume.copies.master) ?? 0;
  const copies: CopyReport[] = [];
  for (let index = 0; index < COPIES_MAX; index++) {
    const seen = rootLastSeen(volume.rootImage.view, index);
    if (seen !== undefined) copies.push(describeCopy(volume, index, seen, used.get(index) ?? 0, masterUsedKib));
  }
  const whole = copies.every(({ state }) => state === "ONLINE");
  const report: VolumeReport = {
    state: volume.failed ? "READONLY" : whole ? "ONLINE" : "DEGRADED",
    readOnly: volume.readOnly !== undefined,
    volume: {
      uuid: formatUuid(volume.uuid),
      label: volume.label,
      checkType: Object.entries(CHECK_NAMES).find(([, type]) => type === volume.store.checkType)?.[0] ?? "unknown",
      sizeBytes: space.totalKib * KIB,
      usedBytes: Math.max(...used.values()) * KIB,
      freeBytes: space.freeKib * KIB,
      inodes: space.inodeCount,
    },
    copies,
    scans: describeScans(volume, caretaker, copies),
    dataErrors: volume.store.lostCount,
  };
  return volume.failed ? { ...report, reason: (volume.readOnly ?? "").split("\n")[0] ?? "" } : report;
}
