// h2ts sync: the kernel's dirty pages of the mount first, then a barrier for the whole volume on every copy.

import { closeSync, openSync } from "node:fs";
import type { Command } from "commander";
import { ControlClient } from "../daemon/control-client.ts";
import { mountedVolumeAt } from "../daemon/mount-table.ts";
import { MountError } from "../daemon/start-mount.ts";
import { syncFilesystem } from "../daemon/system-calls.ts";
import { resolveDirectory } from "./mount-preparation.ts";

export function addSync(program: Command): void {
  program
    .command("sync")
    .description("make everything written so far durable on all copies")
    .usage("DIR")
    .argument("<DIR>", "the mount point")
    .action(sync);
}

/** Resolves once everything written before is durable. Throws {@link MountError}. */
export async function sync(directory: string): Promise<void> {
  const point = resolveDirectory(directory);
  const mount = mountedVolumeAt(point);
  if (!mount) throw new MountError(`${directory}: no h2ts volume is mounted here; give the mount point`);
  const client = await ControlClient.connect(mount.deviceKey);
  if (!client) throw new MountError(`${directory}: its daemon can't be reached (is it another user's?)`);
  try {
    const fd = openSync(point, "r");
    try {
      syncFilesystem(fd);
    } finally {
      closeSync(fd);
    }
    const reply = await client.call("sync");
    if (reply?.error !== undefined) throw new MountError(`${directory}: ${reply.error}`);
    if (!reply) throw new MountError(`${directory}: the daemon ended before everything was durable`);
  } catch (error) {
    if (error instanceof MountError) throw error;
    throw new MountError(`${directory}: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    client.close();
  }
}
