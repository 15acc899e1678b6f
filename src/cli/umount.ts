// h2ts umount: unmounts, and returns only when everything is durable and the daemon gone. umount(8) alone does not wait.

import { realpathSync } from "node:fs";
import { resolve } from "node:path";
import type { Command } from "commander";
import { ControlClient } from "../daemon/control-client.ts";
import { mountedVolumeAt } from "../daemon/mount-table.ts";
import { MountError } from "../daemon/start-mount.ts";
import { unmount } from "../fuse/kernel/mount.ts";

export function addUmount(program: Command): void {
  program
    .command("umount")
    .description("unmount; returns once everything is durable and the daemon gone")
    .usage("DIR")
    .argument("<DIR>", "the mount point")
    .action(umount);
}

/** Resolves once all is durable. Throws {@link MountError} when it could not be unmounted or the last commit failed. */
export async function umount(directory: string): Promise<void> {
  const point = mountPoint(directory);
  const mount = mountedVolumeAt(point);
  if (!mount) throw new MountError(`${directory}: no h2ts volume is mounted here`);
  // Connected before the unmount: afterwards the daemon may be gone before it could be asked.
  const client = await ControlClient.connect(mount.deviceKey);
  try {
    const ended = client?.call("waitForExit");
    await unmount(point).catch((error: unknown) => {
      const { code, message } = error as NodeJS.ErrnoException;
      // fusermount3 has words only.
      if (code !== "EBUSY" && !/busy/i.test(message)) throw new MountError(`${directory}: ${message}`);
      throw new MountError(`${directory}: is busy: a program uses it (fuser -vm ${point} names it)`);
    });
    const reply = await ended;
    if (reply?.error !== undefined) throw new MountError(`${directory}: unmounted, but ${reply.error}`);
    if (!reply)
      throw new MountError(`${directory}: unmounted, but its daemon did not answer: check the volume with fsck.h2ts`);
    await client?.closed();
  } finally {
    client?.close();
  }
}

function mountPoint(directory: string): string {
  try {
    return realpathSync(directory);
  } catch {
    // A mount whose daemon died can't be looked at, but it can be unmounted.
    return resolve(directory);
  }
}
