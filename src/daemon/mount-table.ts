// Which h2ts volumes are mounted where, and under which device number: the name of a mount's control socket.

import { FILESYSTEM_TYPE, mountedFileSystems } from "../fuse/kernel/mountinfo.ts";

export interface MountedVolume {
  /** "MAJ-MIN". */
  readonly deviceKey: string;
  readonly directory: string;
  readonly source: string;
}

/** All h2ts mounts, in the order they were made. */
export function mountedVolumes(): MountedVolume[] {
  return mountedFileSystems()
    .filter(({ type }) => type === FILESYSTEM_TYPE)
    .map(({ device, directory, source }) => ({ deviceKey: device.replace(":", "-"), directory, source }));
}

/** The topmost h2ts mount whose mount point is `directory` (absolute, resolved). */
export function mountedVolumeAt(directory: string): MountedVolume | undefined {
  return mountedVolumes().findLast((mount) => mount.directory === directory);
}
