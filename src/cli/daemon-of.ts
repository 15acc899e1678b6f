// The daemon of a mounted volume, for commands that have something to ask it. A supervisor waits for nothing, so one that does
// not answer is stopped or hangs: then a command ends with a line that says so, and does not hang, too.

import { followLinks } from "../base/follow-links.ts";
import { ControlClient } from "../daemon/control-client.ts";
import type { ControlReply, DaemonReport } from "../daemon/messages.ts";
import { type MountedVolume, mountedVolumeAt } from "../daemon/mount-table.ts";
import { MountError } from "../daemon/start-mount.ts";
import { deathOf, isDead } from "./dead-mount.ts";
import { resolveDirectory } from "./mount-preparation.ts";

const ANSWER_MS = 5000;
/** A worker answers from memory: one that takes this long hangs. */
const WORKER_ANSWER_MS = 10_000;

/** The volume mounted on `directory`: known without a look at it, which its worker would have to answer. */
export function volumeNamed(directory: string): MountedVolume | undefined {
  return mountedVolumeAt(followLinks(directory));
}

/** The volume mounted on `directory`. Throws {@link MountError} when there is none. */
export function volumeOn(directory: string): MountedVolume {
  const mount = volumeNamed(directory);
  if (mount) return mount;
  // What it is, if it is no folder at all.
  resolveDirectory(directory);
  throw new MountError(`${directory}: no h2ts volume is mounted here; give the mount point`);
}

/** A connection to the daemon of a mount, which answers just now. Throws {@link MountError}. */
export async function daemonOf(mount: MountedVolume): Promise<ControlClient> {
  const client = await ControlClient.connect(mount.deviceKey, mount.owner);
  if (!client) {
    const reason = (await isDead(mount)) ? deathOf(mount) : "its daemon can't be reached (is it another user's?)";
    throw new MountError(`${mount.directory}: ${reason}`);
  }
  await presence(client, mount);
  return client;
}

/** Has the daemon say that it is there. Throws {@link MountError}, with the connection closed, when it does not. */
export async function presence(client: ControlClient, { directory }: MountedVolume): Promise<DaemonReport> {
  const reply = await client.call("ping", ANSWER_MS);
  if (reply?.daemon !== undefined) return reply.daemon;
  client.close();
  throw new MountError(
    `${directory}: ${reply?.error ?? "its daemon does not answer; is its process stopped? (pgrep -af supervisor-main)"}`,
  );
}

/**
 * Has the worker of the mount answer something: what only it can do may take any time, and would not end if it is stopped. What it
 * answers need not make sense to another version. Throws {@link MountError}, with the connection closed, when it does not.
 */
export async function workerAnswer(
  client: ControlClient,
  { directory }: MountedVolume,
  limitMs = WORKER_ANSWER_MS,
): Promise<ControlReply> {
  const reply = await client.call("status", limitMs);
  if (reply !== undefined) return reply;
  client.close();
  throw new MountError(`${directory}: its worker does not answer; is its process stopped? (pgrep -af worker-main)`);
}
