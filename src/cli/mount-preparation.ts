// Checks what a mount command was given before any daemon starts, so that mistakes cost one clear line and nothing else.

import { realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { messageOf } from "../base/thrown.ts";
import { UsageError } from "../base/usage-error.ts";
import { nodesInUse, nodesOf } from "../copies/target-nodes.ts";
import { ControlClient } from "../daemon/control-client.ts";
import type { MountRequest } from "../daemon/messages.ts";
import type { MountOptions } from "../daemon/mount-options.ts";
import { mountedVolumes } from "../daemon/mount-table.ts";
import { refuseOccupied } from "../daemon/own-mount.ts";
import { MountError } from "../daemon/start-mount.ts";
import { mountsByItself } from "../fuse/kernel/mount.ts";
import { fusermountWords } from "../fuse/kernel/mount-options.ts";
import { isRemoteTarget, parseRemoteTarget } from "../nbd/target.ts";

const PING_MS = 5000;

/** The absolute form of a target: every node of the row resolved. One that is not there is a copy that may be missing. */
export function resolveTarget(target: string): string {
  return targetOf(target, (path) => {
    try {
      return realpathSync(path);
    } catch {
      return resolve(path);
    }
  });
}

/** The target with each path in it replaced, and each remote node by its canonical text. */
function targetOf(target: string, pathOf: (path: string) => string): string {
  try {
    return nodesOf(target)
      .map((node) => (isRemoteTarget(node) ? parseRemoteTarget(node).text : pathOf(node)))
      .join("+");
  } catch (error) {
    throw new MountError(messageOf(error));
  }
}

/** The absolute form of a mount point. Throws {@link MountError} when it is none; `ifMissing` says what to do if it is not there. */
export function resolveDirectory(directory: string, ifMissing = "give the one of a mounted volume"): string {
  try {
    const path = realpathSync(directory);
    if (!statSync(path).isDirectory()) throw new MountError(`${directory}: is not a folder`);
    return path;
  } catch (error) {
    if (error instanceof MountError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new MountError(`${directory}: the mount point does not exist; ${ifMissing}`);
    if (code === "ENOTCONN")
      throw new MountError(`${directory}: a daemon that died is still mounted here; umount it first`);
    throw new MountError(`${directory}: ${message}`);
  }
}

/** Where a volume that uses `target` (absolute) is mounted; undefined when no live daemon has it. */
export async function directoryServing(target: string): Promise<string | undefined> {
  const nodes = new Set(nodesOf(target));
  for (const mount of mountedVolumes()) {
    const client = await ControlClient.connect(mount.deviceKey, mount.owner);
    const reply = await client?.call("ping", PING_MS);
    client?.close();
    if (reply?.daemon?.targets.some((other) => nodesInUse(other).some((node) => nodes.has(node))))
      return mount.directory;
  }
  return undefined;
}

/** Everything the daemon needs, with absolute paths. Throws {@link MountError}. */
export async function prepareMount(
  targets: readonly string[],
  directory: string,
  options: MountOptions,
  source?: string,
): Promise<MountRequest> {
  refuseForUsers(options);
  const point = resolveDirectory(directory, "create it with mkdir");
  const resolved = targets.map(resolveTarget);
  const twin = resolved.find((target, i) => resolved.indexOf(target) < i);
  if (twin !== undefined) throw new MountError(`${twin}: given twice; give each target once`);
  refuseOccupied(point, directory);
  for (const target of resolved) {
    const where = await directoryServing(target);
    if (where !== undefined) throw new MountError(`${target}: is already mounted on ${where}`);
  }
  return {
    // As the operator named them, but findable from anywhere.
    source: source ?? targets.map((target) => targetOf(target, (path) => resolve(path))).join(","),
    targets: resolved,
    directory: point,
    options,
  };
}

function refuseForUsers({ vfsWords }: MountOptions): void {
  if (mountsByItself()) return;
  try {
    fusermountWords(vfsWords);
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}
