// h2ts upgrade: another worker, of this very installation, takes over a live mount.

import type { Command } from "commander";
import type { DaemonReport } from "../daemon/messages.ts";
import { MountError } from "../daemon/start-mount.ts";
import { WORKER } from "../daemon/worker-process.ts";
import { isRemoteTarget, splitRow } from "../nbd/target.ts";
import { daemonOf, volumeOn, workerAnswer } from "./daemon-of.ts";

/** What a supervisor that does not hand over all devices has room for. */
const DEVICES_HANDED_MAX = 270;

export function addUpgrade(program: Command): void {
  program
    .command("upgrade")
    .description("have this version of h2ts take over a live mount; programs using it notice nothing but a pause")
    .usage("DIR")
    .argument("<DIR>", "the mount point")
    .action(upgrade);
}

/** Why no worker could follow the one there is; undefined where one can, as far as the daemon tells by itself. */
export function whyNotUpgradable({
  handsOverAll,
  targets,
}: Pick<DaemonReport, "handsOverAll" | "targets">): string | undefined {
  const devices = targets.flatMap(splitRow).filter((node) => !isRemoteTarget(node)).length;
  if (handsOverAll === true || devices <= DEVICES_HANDED_MAX) return undefined;
  return `its daemon is of a version that can't hand over ${devices} devices; unmount, and mount again`;
}

/** Resolves once the new worker serves. Throws {@link MountError}. */
async function upgrade(directory: string): Promise<void> {
  const mount = volumeOn(directory);
  const client = await daemonOf(mount);
  try {
    const { daemon } = await workerAnswer(client, mount);
    const refusal = daemon && whyNotUpgradable(daemon);
    if (refusal !== undefined) throw new MountError(`${directory}: ${refusal}`);
    const reply = await client.upgrade(WORKER);
    if (reply?.error !== undefined) throw new MountError(`${directory}: ${reply.error}`);
    if (!reply) throw new MountError(`${directory}: the mount ended before another worker had taken over`);
  } finally {
    client.close();
  }
}
