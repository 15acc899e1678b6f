// Opens the copies named by targets as a volume, for the worker and for a look at a volume at rest.

import { setTimeout as sleep } from "node:timers/promises";
import { SystemClock } from "../base/clock.ts";
import type { Uuid } from "../base/uuid.ts";
import { assemble, type AssembleOptions } from "../copies/assemble.ts";
import { copiesNamed, copyNamed } from "../copies/copy-name.ts";
import type { CopySet } from "../copies/copy-set.ts";
import type { MasterRule } from "../copies/ring.ts";
import { OPEN_MS_DEFAULT } from "../copies/targets.ts";
import { DeviceError } from "../device/device.ts";
import { Journal, JOURNAL_BYTES } from "../log/journal.ts";
import { describeEvent } from "../nbd/client/events.ts";
import { deviceOpener } from "../nbd/open.ts";
import { openVolume as openOn } from "../volume/open.ts";
import { CACHE_BYTES_MIN, type Volume } from "../volume/volume.ts";
import { describeVolume } from "./describe-volume.ts";
import type { MountRequest } from "./messages.ts";
import type { VolumeReport } from "./volume-report.ts";

// umount(8) returns before the daemon has committed and let go of its images; who mounts next waits that long for them.
const LOCK_WAIT_MS = 10_000;
const RETRY_MS = 100;
const REPORT_CACHE_BYTES = 32 * 1024 * 1024;

export interface OpenForMount {
  /** JOURNAL_BYTES of memory; shared, if another process is to go on from it. */
  readonly journal: Uint8Array;
  /** It has what a process before us completed. */
  readonly takeOver: boolean;
  /** The volume that it had. */
  readonly volumeUuid?: Uuid | undefined;
  readonly heartbeatNonce?: Uint8Array;
}

/** Opens the volume of a mount. Throws with one line that names what is wrong. */
export async function openVolume(
  { targets, options }: MountRequest,
  { journal, takeOver, volumeUuid, heartbeatNonce }: OpenForMount,
): Promise<Volume> {
  const { readOnly, deadlineMs } = options;
  // Programs wait for a worker that takes over, nobody does at a mount.
  const openMs = takeOver ? deadlineMs : Math.max(deadlineMs, OPEN_MS_DEFAULT);
  const clock = new SystemClock();
  const open = deviceOpener({
    clock,
    owner: heartbeatNonce,
    policy: {
      timeoutMs: options.remoteTimeoutMs ?? deadlineMs,
      retryCount: options.remoteRetries,
      ...(options.remoteConnections !== undefined && { connections: options.remoteConnections }),
    },
    observer: (observed) => console.error(describeEvent(observed)),
  });
  const takesOver = takeOver ? { volumeUuid } : undefined;
  const assembling = { readOnly, clock, deadlineMs, openMs, open, lenient: true, takesOver };
  const copies = await assembleWhenThere(targets, assembling, takeOver ? (options.remoteTimeoutMs ?? deadlineMs) : 0);
  try {
    return await openOn(copies, {
      clock,
      degraded: options.degraded,
      ...masterRule(options.master, copies, takeOver),
      // The journal is a part of what the mount may take.
      cacheBytes: Math.max(CACHE_BYTES_MIN, options.cacheBytes - JOURNAL_BYTES),
      commitMs: options.commitSeconds * 1000,
      readOnly: options.readOnly,
      renewRings: true,
      journal: new Journal(journal),
      takeOver,
      onNote: (line) => console.error(line),
      ...(heartbeatNonce !== undefined && { heartbeatNonce }),
    });
  } catch (error) {
    await copies.close();
    throw error;
  }
}

/** A copy that is named but not here is no reason not to mount: the first complete one is taken then. */
function masterRule(
  master: string | undefined,
  { copies }: CopySet,
  takeOver: boolean,
): { readonly master?: MasterRule } {
  if (master === undefined) return {};
  if (master === "newest" || master === "first") return { master };
  if (/^[0-7]$/.test(master)) return { master: Number(master) };
  const [named, another] = copiesNamed(master, copies);
  // Another one may have come since the mount.
  if (named === undefined || (another !== undefined && takeOver)) return {};
  return { master: copyNamed(master, copies) };
}

/** Waits for targets that are in use still, and for so long for servers without which there is nothing: they may be starting again. */
async function assembleWhenThere(
  targets: readonly string[],
  options: AssembleOptions,
  awayMs: number,
): Promise<CopySet> {
  const startedMs = performance.now();
  for (;;) {
    try {
      return await assemble(targets, options);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      const patienceMs = error.operation === "lock" ? LOCK_WAIT_MS : error.code === "ENOTCONN" ? awayMs : 0;
      if (performance.now() - startedMs >= patienceMs) throw error;
    }
    await sleep(RETRY_MS);
  }
}

/** The report of a volume that is not mounted; opens it for reading only and changes nothing. */
export async function readVolumeReport(targets: readonly string[]): Promise<VolumeReport> {
  const copies = await assemble(targets, { readOnly: true, lenient: true, openMs: OPEN_MS_DEFAULT });
  try {
    const options = { clock: new SystemClock(), cacheBytes: REPORT_CACHE_BYTES, readOnly: true, degraded: true };
    return describeVolume(await openOn(copies, options));
  } finally {
    await copies.close();
  }
}
