// h2ts upgrade: another worker, of this very installation, takes over a live mount.

import type { Command } from "commander";
import { MountError } from "../daemon/start-mount.ts";
import { WORKER } from "../daemon/worker-process.ts";
import { daemonOf, volumeOn, workerAnswer } from "./daemon-of.ts";

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
  const mount = volumeOn(directory);
  const client = await daemonOf(mount);
  try {
    await workerAnswer(client, mount);
    const reply = await client.upgrade(WORKER);
    if (reply?.error !== undefined) throw new MountError(`${directory}: ${reply.error}`);
    if (!reply) throw new MountError(`${directory}: the mount ended before another worker had taken over`);
  } finally {
    client.close();
  }
}
