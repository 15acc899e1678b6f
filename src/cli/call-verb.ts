// Has the daemon of a mount carry out a verb for one of its copies. Nothing is printed when it is done, or the state
// afterwards with -j.

import type { VerbCall } from "../daemon/messages.ts";
import { MountError } from "../daemon/start-mount.ts";
import { daemonOf, volumeOn, workerAnswer } from "./daemon-of.ts";
import { mountedReport } from "./status-report.ts";

export interface VerbFlags {
  readonly json?: boolean;
}

/** Throws {@link MountError} with what the daemon says when it refuses. */
export async function callVerb(directory: string, call: VerbCall, flags: VerbFlags): Promise<void> {
  const mount = volumeOn(directory);
  const client = await daemonOf(mount);
  await workerAnswer(client, mount);
  const reply = await client.verb(call);
  client.close();
  if (!reply) throw new MountError(`${directory}: the daemon ended before ${call.verb} was done`);
  if (reply.error !== undefined) throw new MountError(`${directory}: ${reply.error}`, reply.exitCode);
  if (flags.json && reply.volume) console.log(JSON.stringify(mountedReport(reply, reply.volume), null, 2));
}
