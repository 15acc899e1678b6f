// Reads /proc/self/mountinfo: which h2ts volumes are mounted where, under which device number.

import { readFileSync } from "node:fs";

export interface MountedVolume {
  /** "MAJ-MIN": names the control socket. */
  readonly deviceKey: string;
  readonly directory: string;
  readonly source: string;
  readonly fstype: string;
  readonly vfsOptions: string;
}

// The kernel writes space, tab, newline and backslash as octal; other bytes, also ones that are not UTF-8, as they are.
const unescape = (text: string): string =>
  Buffer.from(
    text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8))),
    "latin1",
  ).toString("utf8");

/** Parses the text of a mountinfo file; lines of other filesystems are left out. */
export function parseMountInfo(text: string): MountedVolume[] {
  const mounts: MountedVolume[] = [];
  for (const line of text.split("\n")) {
    const [before, after] = line.split(" - ");
    if (before === undefined || after === undefined) continue;
    const [, , device, , directory, vfsOptions] = before.split(" ");
    const [fstype, source] = after.split(" ");
    if (!fstype || !/^fuse\.(h2ts|mount\.h2ts)$/.test(fstype)) continue;
    if (device === undefined || directory === undefined || source === undefined) continue;
    mounts.push({
      deviceKey: device.replace(":", "-"),
      directory: unescape(directory),
      source: unescape(source),
      fstype,
      vfsOptions: vfsOptions ?? "",
    });
  }
  return mounts;
}

/** All h2ts mounts, in the order they were made. */
export function mountedVolumes(): MountedVolume[] {
  return parseMountInfo(readFileSync("/proc/self/mountinfo", "latin1"));
}

/** The topmost h2ts mount whose mount point is `directory` (absolute, resolved). */
export function mountedVolumeAt(directory: string): MountedVolume | undefined {
  return mountedVolumes().findLast((mount) => mount.directory === directory);
}
