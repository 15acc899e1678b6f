// Where a filesystem stays mounted when one of its mounts is taken off: as long as it does, it does not end. Mounts that others
// share (mount propagation) go together, so a second line in the mount table alone tells nothing.

import { join, relative } from "node:path";
import type { MountEntry } from "../../base/mounted-filesystems.ts";

/** The directories, as far as this process sees them, where the filesystem is still mounted once `entry` is not. */
export function mountedElsewhere(entry: MountEntry, all: readonly MountEntry[]): string[] {
  return all
    .filter((other) => other.device === entry.device && other.id !== entry.id && !goesAlong(other, entry, all))
    .map(({ directory }) => directory);
}

/** The kernel takes off, too, what lies at the same place in a mount that receives from the one `entry` is in. */
function goesAlong(other: MountEntry, entry: MountEntry, all: readonly MountEntry[]): boolean {
  const [from, to] = [entry, other].map(({ parentId }) => all.find(({ id }) => id === parentId));
  const group = from?.propagation.find((word) => word.startsWith("shared:"));
  if (from === undefined || to === undefined || group === undefined) return false;
  const receives = to.propagation.includes(group) || to.propagation.includes(group.replace("shared", "master"));
  return receives && placeIn(from, entry) === placeIn(to, other);
}

/** Which folder of the filesystem of `parent` it hides. */
function placeIn(parent: MountEntry, { directory }: MountEntry): string {
  return join(parent.root, relative(parent.directory, directory));
}
