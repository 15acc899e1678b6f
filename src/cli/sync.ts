// h2ts sync: the kernel's dirty pages of the mount first, then a barrier for the whole volume on every copy.

import { closeSync, openSync } from "node:fs";
import type { Command } from "commander";
import { messageOf } from "../base/thrown.ts";
import { coverOf } from "../daemon/mount-table.ts";
import { MountError } from "../daemon/start-mount.ts";
import { syncFilesystem } from "../daemon/system-calls.ts";
import { daemonOf, volumeOn, workerAnswer } from "./daemon-of.ts";

export function addSync(program: Command): void {
  program
    .command("sync")
    .description("make everything written so far durable on all copies")
    .usage("DIR")
    .argument("<DIR>", "the mount point")
    .action(sync);
}

/** Resolves once everything written before is durable. Throws {@link MountError}. */
async function sync(directory: string): Promise<void> {
  const mount = volumeOn(directory);
  const cover = coverOf(mount);
  if (cover !== undefined) throw new MountError(`${directory}: ${cover}`);
  const client = await daemonOf(mount);
  try {
    // Nothing ends a call on a mount whose worker is stopped.
    await workerAnswer(client, mount);
    const lost = writtenBack(mount.directory);
    // Whatever the kernel could not hand over: what reached the daemon is made durable.
    const reply = await client.call("sync");
    if (reply?.error !== undefined) throw new MountError(`${directory}: ${reply.error}`);
    if (!reply) throw new MountError(`${directory}: the daemon ended before everything was durable`);
    if (lost !== undefined)
      throw new MountError(
        `${directory}: what the kernel held of some file could not be written, now or before: ${lost}`,
      );
  } catch (error) {
    if (error instanceof MountError) throw error;
    throw new MountError(`${directory}: ${messageOf(error)}`);
  } finally {
    client.close();
  }
}

/** Has the kernel hand over what it holds of the mount; the error of a write that failed since somebody last asked, which it tells once. */
function writtenBack(directory: string): string | undefined {
  const fd = openSync(directory, "r");
  try {
    syncFilesystem(fd);
    return undefined;
  } catch (error) {
    return messageOf(error);
  } finally {
    closeSync(fd);
  }
}
