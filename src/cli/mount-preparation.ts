// Checks what a mount command was given before any daemon starts, so that mistakes cost one clear line and nothing else.

import { realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { followLinks } from "../base/follow-links.ts";
import { messageOf } from "../base/thrown.ts";
import { UsageError } from "../base/usage-error.ts";
import { nodesInUse, nodesOf, rowRefusal } from "../copies/target-nodes.ts";
import { ControlClient } from "../daemon/control-client.ts";
import type { MountRequest } from "../daemon/messages.ts";
import type { MountOptions } from "../daemon/mount-options.ts";
import { type MountedVolume, mountedVolumeAt, mountedVolumes } from "../daemon/mount-table.ts";
import { refuseOccupied } from "../daemon/own-mount.ts";
import { MountError } from "../daemon/start-mount.ts";
import { mountsByItself } from "../fuse/kernel/mount.ts";
import { fusermountWords } from "../fuse/kernel/mount-options.ts";
import { mountSource, SOURCE_BYTES_MAX } from "../fuse/mount-source.ts";
import { isRemoteTarget, parseRemoteTarget } from "../nbd/target.ts";
import { deathOf, isDead } from "./dead-mount.ts";

const PING_MS = 5000;

/** The absolute form of a target: every node of the row resolved. One that is not there is a copy that may be missing. */
export function resolveTarget(target: string): string {
  return targetOf(target, followLinks);
}

/** The target with each path in it replaced, and each remote node by its canonical text. Throws {@link UsageError}. */
function targetOf(target: string, pathOf: (path: string) => string): string {
  try {
    const nodes = nodesOf(target).map((node) => (isRemoteTarget(node) ? parseRemoteTarget(node).text : pathOf(node)));
    const refusal = nodes.length > 1 ? nodes.map(rowRefusal).find((each) => each !== undefined) : undefined;
    if (refusal !== undefined) throw refusal;
    return nodes.join("+");
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
}

/** The absolute form of a path with the links in it, unless that would name another place: by words alone, one up from a link does. */
export function asNamed(path: string): string {
  const inWords = resolve(path);
  const meant = followLinks(path);
  return followLinks(inWords) === meant ? inWords : meant;
}

/** The absolute form of a mount point. Throws {@link MountError} when it is none; `ifMissing` says what to do if it is not there. */
export function resolveDirectory(directory: string, ifMissing = "give the one of a mounted volume"): string {
  try {
    const path = realpathSync.native(directory);
    if (!statSync(path).isDirectory()) throw new MountError(`${directory}: is not a folder`);
    return path;
  } catch (error) {
    if (error instanceof MountError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") throw new MountError(`${directory}: the mount point does not exist; ${ifMissing}`);
    if (code === "ENOTCONN")
      throw new MountError(
        `${directory}: the daemon of what is mounted here is dead; 'h2ts umount ${directory}' first`,
      );
    throw new MountError(`${directory}: ${message}`);
  }
}

/** A target that a mounted volume uses, and where that is mounted. */
export interface Occupied {
  readonly target: string;
  readonly directory: string;
}

/**
 * The first of these targets (absolute) that a live daemon has, as far as daemons say; undefined when none has any. All are asked at
 * once, for `limitMs` at most. Only root's and this user's are believed: anybody can mount something and answer for it, and the locks
 * of devices tell what others have.
 */
export function occupied(
  targets: readonly string[],
  mounts: readonly MountedVolume[] = mountedVolumes(),
  limitMs = PING_MS,
): Promise<Occupied | undefined> {
  return servedSomewhere(targets, mounts.filter(isBelieved), limitMs);
}

/** As `occupied`, whoever's the daemon is; those that are believed count first. For whoever only looks. */
export async function servedSomewhere(
  targets: readonly string[],
  mounts: readonly MountedVolume[] = mountedVolumes(),
  limitMs = PING_MS,
): Promise<Occupied | undefined> {
  const asked = mounts.toSorted((a, b) => Number(isBelieved(b)) - Number(isBelieved(a)));
  const used = await Promise.all(asked.map((mount) => nodesServed(mount, limitMs)));
  for (const target of targets) {
    const nodes = nodesInUse(target);
    const at = used.findIndex((others) => nodes.some((node) => others.has(node)));
    if (at >= 0) return { target, directory: (asked[at] as MountedVolume).directory };
  }
  return undefined;
}

const isBelieved = ({ owner }: MountedVolume): boolean => owner === 0 || owner === process.getuid?.();

async function nodesServed({ deviceKey, owner }: MountedVolume, limitMs: number): Promise<ReadonlySet<string>> {
  const client = await ControlClient.connect(deviceKey, owner);
  const reply = await client?.call("ping", limitMs);
  client?.close();
  return new Set(reply?.daemon?.targets.flatMap(nodesInUse));
}

/** Everything the daemon needs, with absolute paths. Throws {@link MountError} or {@link UsageError}. */
export async function prepareMount(
  targets: readonly string[],
  directory: string,
  options: MountOptions,
  source?: string,
): Promise<MountRequest> {
  refuseForUsers(options);
  // Before the folder is looked at: a mount that is just beginning there would not answer yet.
  const place = followLinks(directory);
  const occupant = mountedVolumeAt(place);
  if (occupant && (await isDead(occupant))) throw new MountError(`${directory}: ${deathOf(occupant)}`);
  refuseOccupied(place, directory);
  const point = resolveDirectory(directory, "create it with mkdir");
  const resolved = targets.map(resolveTarget);
  const twin = resolved.find((target, i) => resolved.indexOf(target) < i);
  if (twin !== undefined) throw new UsageError(`${twin}: given twice; give each target once`);
  refuseOccupied(point, directory);
  const inUse = await occupied(resolved);
  if (inUse !== undefined) throw new MountError(`${inUse.target}: is already mounted on ${inUse.directory}`);
  // As the operator named them, but findable from anywhere.
  const named = source ?? targets.map((target) => targetOf(target, asNamed)).join(",");
  const way = options.transport === "kernel" && !mountsByItself() ? "fusermount" : options.transport;
  return {
    source: mountSource(named, SOURCE_BYTES_MAX[way]),
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
