// Changes the generic options of a live mount: ro, rw, noatime and the like.

import type { MountOptions } from "../daemon/mount-options.ts";
import { mountedVolumeAt } from "../daemon/mount-table.ts";
import { MountError } from "../daemon/start-mount.ts";
import { remount as remountDirectory } from "../fuse/kernel/mount.ts";
import { resolveDirectory } from "./mount-preparation.ts";

/** Throws {@link MountError}. */
export function remount(directory: string, options: MountOptions): void {
  const point = resolveDirectory(directory);
  if (!mountedVolumeAt(point)) throw new MountError(`${directory}: no h2ts volume is mounted here`);
  try {
    remountDirectory(point, [options.readOnly ? "ro" : "rw", ...options.vfsWords]);
  } catch (error) {
    throw new MountError(error instanceof Error ? error.message : String(error));
  }
}
