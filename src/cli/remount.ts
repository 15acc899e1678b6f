// Changes the generic options of a live mount: ro, rw, noatime and the like.

import { ControlClient } from "../daemon/control-client.ts";
import type { MountOptions } from "../daemon/mount-options.ts";
import { mountedVolumeAt } from "../daemon/mount-table.ts";
import { MountError } from "../daemon/start-mount.ts";
import { remount as remountDirectory } from "../fuse/kernel/mount.ts";
import { resolveDirectory } from "./mount-preparation.ts";

/** Throws {@link MountError}. */
export async function remount(directory: string, options: MountOptions): Promise<void> {
  const point = resolveDirectory(directory);
  const mount = mountedVolumeAt(point);
  if (!mount) throw new MountError(`${directory}: no h2ts volume is mounted here`);
  if (!options.readOnly && (await openedReadOnly(mount.deviceKey))) {
    throw new MountError(`${directory}: the volume was opened for reading only; unmount it and mount it again with rw`);
  }
  try {
    remountDirectory(point, [options.readOnly ? "ro" : "rw", ...options.vfsWords]);
  } catch (error) {
    throw new MountError(error instanceof Error ? error.message : String(error));
  }
}

const ANSWER_MS = 10_000;

/** The daemon of a mount made with ro holds its copies for reading only, whatever the kernel is told later. */
async function openedReadOnly(deviceKey: string): Promise<boolean> {
  const client = await ControlClient.connect(deviceKey);
  const reply = await client?.call("status", ANSWER_MS);
  client?.close();
  return reply?.volume?.readOnly ?? false;
}
