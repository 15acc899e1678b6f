// The state of a volume as the operator sees it: the one shape that the worker answers, `h2ts status -j` prints and the
// text of `h2ts status` is made from. Field names are an interface to scripts: add, never rename.

import { z } from "zod";

export const CopyReport = z.object({
  index: z.number(),
  uuid: z.string(),
  /** ONLINE today; OFFLINE, SYNCING, FAULTED come with copies that may leave and return. */
  state: z.string(),
  /** "master" for the copy whose root was taken at mount, otherwise "copy". */
  role: z.string(),
  targets: z.array(z.string()),
  sizeBytes: z.number(),
  usedBytes: z.number(),
  errors: z.object({ read: z.number(), write: z.number(), checksum: z.number() }),
  repaired: z.number(),
});
export type CopyReport = z.infer<typeof CopyReport>;

export const VolumeReport = z.object({
  /** ONLINE, DEGRADED (fewer copies than the volume has) or READONLY (forced by an error). */
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
  copies: z.array(CopyReport),
  /** Blocks for which no copy had good bytes, since the mount. */
  dataErrors: z.number(),
});
export type VolumeReport = z.infer<typeof VolumeReport>;
