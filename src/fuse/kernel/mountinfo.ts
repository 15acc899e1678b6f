// Which filesystem is mounted on a folder.

import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { type MountEntry, mountedFileSystems } from "../../base/mounted-filesystems.ts";

/** Filesystem type under which every mount of ours is known. */
export const FILESYSTEM_TYPE = "fuse.h2ts";

/** The directory's own name, absolute, without asking the filesystem that may be mounted on it. */
export function mountPointPath(directory: string): string {
  const absolute = resolve(directory);
  if (absolute === "/") return absolute;
  return join(realpathSync(dirname(absolute)), basename(absolute));
}

/** What is mounted on `directory` (the newest where several are stacked); undefined when it is not a mount point. */
export function mountAt(directory: string): MountEntry | undefined {
  const path = mountPointPath(directory);
  return mountedFileSystems().findLast((entry) => entry.directory === path);
}

/** The h2ts mount on `directory`, if there is one. */
export function ownMountAt(directory: string): MountEntry | undefined {
  const entry = mountAt(directory);
  return entry?.type === FILESYSTEM_TYPE ? entry : undefined;
}
