// Mounts a filesystem for one test and cleans up whatever happens. The process that tests is the one that serves, so clients
// must never be synchronous: files through node:fs/promises, programs through `run`.

import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { mkdtemp, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { unmount } from "../../src/fuse/kernel/mount.ts";
import { ownMountAt } from "../../src/fuse/kernel/mountinfo.ts";
import type { Mounted, Transport, TransportMount } from "../../src/fuse/transport.ts";
import type { FileSystemRequests } from "../../src/posix/requests.ts";

/** Whether this machine and user may mount here at all. */
export function mayMount(): boolean {
  try {
    accessSync("/dev/fuse", constants.R_OK | constants.W_OK);
    return process.geteuid?.() === 0;
  } catch {
    return false;
  }
}

/**
 * Runs a shell script in `directory`, as a process of its own; its standard output. The shell changes directory by itself:
 * starting a process with a working directory waits for that directory, which on the mount waits for us.
 */
export async function run(script: string, directory: string): Promise<string> {
  const words = ["-ec", `cd "$0"\n${script}`, directory];
  const { stdout } = await promisify(execFile)("sh", words, { timeout: 60_000, killSignal: "SIGKILL" });
  return stdout;
}

/** Runs `body` on a mount of `fs`, then unmounts, lazily if it must. Throws what the filesystem could not explain. */
export async function withMount(
  transport: Transport,
  fs: FileSystemRequests,
  body: (directory: string, mounted: Mounted) => Promise<void>,
  mount: Partial<TransportMount> = {},
): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "h2ts-mount-"));
  const faults: unknown[] = [];
  const onFault = (error: unknown): void => void faults.push(error);
  const mounted = await transport.mount({ source: "test", directory, ...mount }, fs, { onFault });
  try {
    await body(directory, mounted);
  } finally {
    if (ownMountAt(directory) !== undefined) await mounted.unmount().catch(() => unmount(directory, true));
    await mounted.closed;
    await rmdir(directory);
  }
  if (faults.length > 0) throw faults[0];
}
