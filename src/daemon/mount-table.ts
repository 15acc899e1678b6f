// Which h2ts volumes are mounted where, by whom, and under which device number: the name of a mount's control socket.

import { type MountEntry, mountedFileSystems } from "../base/mounted-filesystems.ts";
import { FILESYSTEM_TYPE } from "../fuse/kernel/mountinfo.ts";

export interface MountedVolume {
  /** "MAJ-MIN". */
  readonly deviceKey: string;
  readonly directory: string;
  readonly source: string;
  /** The user whose daemon serves it. */
  readonly owner: number;
}

/** All h2ts volumes that are mounted, in the order they were: each once, where it was first, however often it is bound elsewhere. */
export function mountedVolumes(): MountedVolume[] {
  const first = new Map<string, MountEntry>();
  for (const entry of ownMounts()) if (!first.has(entry.device)) first.set(entry.device, entry);
  return [...first.values()].map(volumeOf);
}

/** The topmost h2ts mount whose mount point is `directory` (absolute, resolved), of `source` if that is given. */
export function mountedVolumeAt(directory: string, source?: string): MountedVolume | undefined {
  const isOne = (mount: MountEntry): boolean => source === undefined || mount.source === source;
  const entry = ownMounts().findLast((mount) => mount.directory === directory && isOne(mount));
  return entry && volumeOf(entry);
}

/** Why calls by the mount point of a volume would go to another filesystem; undefined when they go to the volume. */
export function coverOf({ directory }: MountedVolume, all = mountedFileSystems()): string | undefined {
  const top = all.findLast((entry) => entry.directory === directory);
  if (top === undefined || top.type === FILESYSTEM_TYPE) return undefined;
  return `another filesystem (${top.type}) is mounted on top; take that off first (umount ${directory})`;
}

const ownMounts = (): MountEntry[] => mountedFileSystems().filter(({ type }) => type === FILESYSTEM_TYPE);

function volumeOf({ device, directory, source, userId = 0 }: MountEntry): MountedVolume {
  return { deviceKey: device.replace(":", "-"), directory, source, owner: userId };
}
