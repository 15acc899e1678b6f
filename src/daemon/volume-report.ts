// The state of a volume as the operator sees it: the one shape that the worker answers, `h2ts status -j` prints and the
// text of `h2ts status` is made from. Field names are an interface to scripts: add, never rename.

import { z } from "zod";

/**
 * ONLINE: in sync. SYNCING: being caught up; NO-ROOM: it was, and what it lacks does not fit. FAULTED: dropped after an
 * error. OFFLINE, SUSPENDED: taken out by the operator, the second until the next mount. FROZEN: in sync, and what needs it
 * waits. MISSING: not at hand. STALE,
 * UNKNOWN, BLANK, DIVERGENT: at hand, not taken back yet.
 */
export const CopyState = z.enum([
  "ONLINE",
  "SYNCING",
  "NO-ROOM",
  "FAULTED",
  "OFFLINE",
  "SUSPENDED",
  "FROZEN",
  "MISSING",
  "STALE",
  "UNKNOWN",
  "BLANK",
  "LEAVING",
  "DIVERGENT",
]);
export type CopyState = z.infer<typeof CopyState>;

/** One node of a copy; all of them follow one another. */
export const NodeReport = z.object({
  target: z.string(),
  kind: z.enum(["file", "block device", "remote", "unknown"]),
  /** Where it begins within the copy. */
  startBytes: z.number(),
  sizeBytes: z.number(),
  /** No call is made on it at the operator's word: calls wait, or its device was let go of. */
  held: z.enum(["FROZEN", "SUSPENDED"]).optional(),
  /** Of a remote node; counted since it was opened. */
  connection: z
    .object({
      state: z.enum(["connected", "reconnecting", "given-up", "closed"]),
      address: z.string(),
      addresses: z.array(z.string()),
      /** By default for a worker of an older version. */
      connections: z.number().default(1),
      inFlight: z.number(),
      unflushedBytes: z.number(),
      resent: z.number(),
      reconnects: z.number(),
      roundTripMs: z.number(),
      lastError: z.string().optional(),
    })
    .optional(),
});
export type NodeReport = z.infer<typeof NodeReport>;

export const CopyReport = z.object({
  index: z.number(),
  uuid: z.string(),
  state: CopyState,
  /** "master" for the copy that metadata is read from, otherwise "copy". */
  role: z.string(),
  /** For a copy that is not here: where it was last seen. */
  targets: z.array(z.string()),
  /** Empty for a copy that is not here, and from a worker of an older version. */
  nodes: z.array(NodeReport).default([]),
  sizeBytes: z.number(),
  usedBytes: z.number(),
  errors: z.object({ read: z.number(), write: z.number(), checksum: z.number() }),
  repaired: z.number(),
  /** Why it is not in sync. */
  note: z.string().optional(),
  /** Calls on devices of this machine that it was given up for and that have not ended: the worker can't end before they do. */
  callsStuck: z.number().optional(),
  /** About how much it lacks. */
  missingBytes: z.number().optional(),
});
export type CopyReport = z.infer<typeof CopyReport>;

/** Work in the background: resyncs under way or over since the mount, and the last scrub, which the root remembers. */
export const ScanReport = z.object({
  activity: z.enum(["resync", "scrub"]),
  /** Of a resync. */
  copy: z.number().optional(),
  /** A scrub that is stopped goes on at the next mount. */
  state: z.enum(["running", "paused", "complete", "cancelled", "no-room", "unreadable", "stopped", "failed"]),
  doneBytes: z.number(),
  /** An estimate. */
  leftBytes: z.number(),
  /** How long it ran since the mount, pauses left out. */
  seconds: z.number(),
  /** Read or brought in that time, which gives the rate. */
  sinceMountBytes: z.number().optional(),
  /** Of a scrub: bad blocks found, each copy's counted by itself; of them repaired; blocks that no copy had. */
  errors: z.number().optional(),
  repaired: z.number().optional(),
  lost: z.number().optional(),
  /** When a scrub was complete, seconds since 1970. */
  finishedSec: z.number().optional(),
});
export type ScanReport = z.infer<typeof ScanReport>;

export const VolumeReport = z.object({
  /** ONLINE, DEGRADED (a copy is not in sync) or READONLY (forced by an error). */
  state: z.string(),
  /** Why the volume went read-only by itself, or what else the operator should know. */
  reason: z.string().optional(),
  readOnly: z.boolean(),
  volume: z.object({
    uuid: z.string(),
    label: z.string(),
    checkType: z.string(),
    sizeBytes: z.number(),
    usedBytes: z.number(),
    freeBytes: z.number(),
    inodes: z.number(),
  }),
  /** Every copy the volume has, at hand or not. */
  copies: z.array(CopyReport),
  scans: z.array(ScanReport),
  /** Blocks for which no copy had good bytes, since the mount. */
  dataErrors: z.number(),
});
export type VolumeReport = z.infer<typeof VolumeReport>;
