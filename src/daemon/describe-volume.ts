// Makes the operator's report of an open volume.

import { formatUuid } from "../base/uuid.ts";
import { CHECK_NAMES } from "../format/check.ts";
import { KIB } from "../format/geometry.ts";
import type { Volume } from "../volume/volume.ts";
import type { CopyReport, VolumeReport } from "./volume-report.ts";

/** The state of `volume` now; from memory, it asks no device. */
export function describeVolume(volume: Volume): VolumeReport {
  const space = volume.statfs();
  const used = new Map(space.copies.map((copy) => [copy.index, copy.usedKib * KIB]));
  const present = [...volume.copies.copies].sort((a, b) => a.index - b.index);
  const copies = present.map(
    (copy, i): CopyReport => ({
      index: copy.index,
      uuid: formatUuid(copy.uuid),
      state: copy.failure === undefined ? "ONLINE" : "FAULTED",
      // Every present copy has the newest root; the first one is read first.
      role: i === 0 ? "master" : "copy",
      targets: [...copy.targets],
      sizeBytes: copy.sizeKib * KIB,
      usedBytes: used.get(copy.index) ?? 0,
      errors: { ...copy.errors },
      repaired: copy.repaired,
    }),
  );
  const report: VolumeReport = {
    state: volume.failed ? "READONLY" : "ONLINE",
    readOnly: volume.readOnly !== undefined,
    volume: {
      uuid: formatUuid(volume.uuid),
      label: volume.label,
      checkType: Object.entries(CHECK_NAMES).find(([, type]) => type === volume.store.checkType)?.[0] ?? "unknown",
      sizeBytes: space.totalKib * KIB,
      usedBytes: Math.max(...used.values()),
      freeBytes: space.freeKib * KIB,
      inodes: space.inodeCount,
    },
    copies,
    dataErrors: volume.store.lostCount,
  };
  return volume.failed ? { ...report, reason: (volume.readOnly ?? "").split("\n")[0] ?? "" } : report;
}
