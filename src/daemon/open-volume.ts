// Opens the copies named by targets as a volume, for the worker and for a look at a volume at rest.

import { setTimeout as sleep } from "node:timers/promises";
import { type Clock, SystemClock } from "../base/clock.ts";
import { messageOf } from "../base/thrown.ts";
import type { Uuid } from "../base/uuid.ts";
import { assemble, type AssembleOptions } from "../copies/assemble.ts";
import { copiesNamed, copyNamed } from "../copies/copy-name.ts";
import type { CopySet } from "../copies/copy-set.ts";
import type { MasterRule } from "../copies/ring.ts";
import { CopiesError, type CopiesErrorKind, CopiesLostError, UnreadableError } from "../copies/errors.ts";
import { isSilent, OPEN_MS_DEFAULT } from "../copies/targets.ts";
import { DeviceError } from "../device/device.ts";
import { Journal, JOURNAL_BYTES } from "../log/journal.ts";
import { describeEvent } from "../nbd/client/events.ts";
import { deviceOpener } from "../nbd/open.ts";
import { DEFAULT_LIMITS } from "../nbd/server/limits.ts";
import { isRemoteTarget } from "../nbd/target.ts";
import { logDroppedLine } from "../volume/log-dropped.ts";
import { openVolume } from "../volume/open.ts";
import { CACHE_BYTES_MIN, type Volume } from "../volume/volume.ts";
import { letGoOfOffline } from "../walk/take-out.ts";
import { describeVolume } from "./describe-volume.ts";
import type { MountRequest } from "./messages.ts";
import type { VolumeReport } from "./volume-report.ts";

// umount(8) returns before the daemon has committed and let go of its images; who mounts next waits that long for them.
const LOCK_WAIT_MS = 10_000;
// A server keeps an export for a mount that broke off; it may take a moment longer to see that it did.
const EXPORT_WAIT_MS = DEFAULT_LIMITS.leaseMs + 2000;
const RETRY_MS = 100;
const REPORT_CACHE_BYTES = 32 * 1024 * 1024;
/** What the volume needs is on no copy at hand; or they went different ways, and its own root, which would tell, is not among theirs. */
const LACKING: ReadonlySet<CopiesErrorKind> = new Set([
  "missing-copy",
  "missing-node",
  "no-root",
  "divergent",
  "mixed",
]);

export interface OpenForMountOptions {
  /** JOURNAL_BYTES of memory; shared, if another process is to go on from it. */
  readonly journal: Uint8Array;
  /** It has what a process before us completed. */
  readonly takeOver: boolean;
  /** The volume that it had. */
  readonly volumeUuid?: Uuid | undefined;
  readonly heartbeatNonce?: Uint8Array;
  /** Told, in a line, of completed operations that the volume was opened without. */
  readonly onLogDropped?: (line: string) => void;
}

/**
 * Opens the volume of a mount. Throws with one line that names what is wrong. Whoever takes over waits without end for devices
 * that do not answer, if their copies may be what is lacking: what programs were told is done may be in the journal only (I4).
 */
export async function openForMount(request: MountRequest, handed: OpenForMountOptions): Promise<Volume> {
  const { targets, options } = request;
  const { takeOver, volumeUuid, heartbeatNonce } = handed;
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
      connections: options.remoteConnections,
    },
    observer: (observed) => console.error(describeEvent(observed)),
  });
  const takesOver = takeOver ? { volumeUuid } : undefined;
  const assembling = { readOnly, clock, deadlineMs, openMs, open, lenient: true, takesOver };
  const patience: Patience = {
    awayMs: takeOver ? (options.remoteTimeoutMs ?? deadlineMs) : 0,
    silentMs: takeOver ? Infinity : 0,
  };
  // The same for all tries: another form of it no device's answer changes.
  const journal = new Journal(handed.journal);
  for (let lastLine = ""; ; await sleep(RETRY_MS)) {
    const copies = await assembleWhenThere(targets, assembling, patience);
    try {
      const volume = await openOnCopies(copies, request, handed, { journal, clock });
      if (takeOver) refuseAwaiting(volume);
      if (takeOver && volume.readOnly === undefined) await letGoOfAllOffline(volume);
      return volume;
    } catch (error) {
      const mayOpen = takeOver && mayBeBrought(error, copies);
      await copies.close();
      if (!mayOpen) throw error;
      const line = messageOf(error);
      if (line !== lastLine) console.error(`${line}; waiting for devices that do not answer`);
      lastLine = line;
    }
  }
}

/** What is lacking may come with a copy that does not answer; whatever else is wrong gets no better by waiting. */
function mayBeBrought(error: unknown, copies: CopySet): boolean {
  if (error instanceof UnreadableError) return copies.awaitsAny;
  return copies.isAwaited && isLack(error);
}

/** One copy in sync more could change this. */
const isLack = (error: unknown): boolean =>
  error instanceof CopiesLostError || (error instanceof CopiesError && LACKING.has(error.kind)) || isSilent(error);

/** Throws CopiesLostError where too few copies are at hand to make durable what was completed, and others may answer yet. */
function refuseAwaiting({ failed, readOnly, copies, members }: Volume): void {
  if (failed && members.areTooFew && copies.isAwaited) throw new CopiesLostError(readOnly);
}

/**
 * What the operator took out was let go of, and stays so: only its root could tell that it is that copy. Programs wait for one that
 * is slow to close no longer than a deadline (I9).
 */
async function letGoOfAllOffline({ copies }: Volume): Promise<void> {
  const offline = copies.copies.filter(({ standing }) => standing === "offline");
  const closed = Promise.allSettled(offline.map((copy) => letGoOfOffline(copy, copies))).then(() => undefined);
  await Promise.race([closed, sleep(copies.deadlineMs, undefined, { ref: false })]);
}

function openOnCopies(
  copies: CopySet,
  { options }: MountRequest,
  { takeOver, heartbeatNonce, onLogDropped }: OpenForMountOptions,
  { journal, clock }: { readonly journal: Journal; readonly clock: Clock },
): Promise<Volume> {
  return openVolume(copies, {
    clock,
    degraded: options.degraded,
    ...masterRule(options.master, copies, takeOver),
    // The journal is a part of what the mount may take.
    cacheBytes: Math.max(CACHE_BYTES_MIN, options.cacheBytes - JOURNAL_BYTES),
    commitMs: options.commitSeconds * 1000,
    readOnly: options.readOnly,
    renewRings: true,
    journal,
    takeOver,
    onNote: (line) => console.error(line),
    onLogDropped: (dropped, waiting, reason) => {
      const line = logDroppedLine(dropped, waiting, reason);
      console.error(line);
      onLogDropped?.(line);
    },
    ...(heartbeatNonce !== undefined && { heartbeatNonce }),
  });
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

/** How long to wait for copies without which there is nothing. */
interface Patience {
  /** On servers that can't be reached: they may be starting again. */
  readonly awayMs: number;
  /** On devices that do not answer. */
  readonly silentMs: number;
}

/** Makes copies of the targets; waits for those that are in use still, and for others as `patience` says. */
async function assembleWhenThere(
  targets: readonly string[],
  options: AssembleOptions,
  patience: Patience,
): Promise<CopySet> {
  const startedMs = performance.now();
  for (;;) {
    try {
      return await assemble(targets, options);
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      if (performance.now() - startedMs >= patienceMs(error, patience)) throw error;
    }
    await sleep(RETRY_MS);
  }
}

function patienceMs(error: DeviceError, { awayMs, silentMs }: Patience): number {
  if (error.operation === "lock") return isRemoteTarget(error.device) ? EXPORT_WAIT_MS : LOCK_WAIT_MS;
  if (error.code === "ENOTCONN") return awayMs;
  return isSilent(error) ? silentMs : 0;
}

/** The report of a volume that is not mounted; opens it for reading only and changes nothing. */
export async function readVolumeReport(targets: readonly string[]): Promise<VolumeReport> {
  const copies = await assemble(targets, { readOnly: true, lenient: true, openMs: OPEN_MS_DEFAULT });
  try {
    const options = { clock: new SystemClock(), cacheBytes: REPORT_CACHE_BYTES, readOnly: true, degraded: true };
    return describeVolume(await openVolume(copies, options));
  } finally {
    await copies.close();
  }
}
