// h2ts upgrade: another worker, of this very installation, takes over a live mount.

import type { Command } from "commander";
import { ControlClient } from "../daemon/control-client.ts";
import { mountedVolumeAt } from "../daemon/mount-table.ts";
import { MountError } from "../daemon/start-mount.ts";
import { WORKER } from "../daemon/worker-process.ts";
import { resolveDirectory } from "./mount-preparation.ts";

export function addUpgrade(program: Command): void {
  program
    .command("upgrade")
    .description("have this version of h2ts take over a live mount; programs using it notice nothing but a pause")
    .usage("DIR")
    .argument("<DIR>", "the mount point")
    .action(upgrade);
}

/** Resolves once the new worker serves. Throws {@link MountError}. */
async function upgrade(directory: string): Promise<void> {
  const mount = mountedVolumeAt(resolveDirectory(directory));
  if (!mount) throw new MountError(`${directory}: no h2ts volume is mounted here; give the mount point`);
  const client = await ControlClient.connect(mount.deviceKey);
  if (!client) throw new MountError(`${directory}: its daemon can't be reached (is it another user's?)`);
  try {
    const reply = await client.upgrade(WORKER);
    if (reply?.error !== undefined) throw new MountError(`${directory}: ${reply.error}`);
    if (!reply) throw new MountError(`${directory}: the mount ended before another worker had taken over`);
  } finally {
    client.close();
  }
}
