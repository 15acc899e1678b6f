// What is mounted where, from /proc/self/mountinfo: asked there and not by stat, which would wait for the filesystem itself.

import { readFileSync } from "node:fs";

export interface MountEntry {
  readonly id: number;
  /** Id of the mount it is mounted on. */
  readonly parentId: number;
  /** Device number as `MAJ:MIN`, the name of the mount's backing device info in sysfs. */
  readonly device: string;
  /** Which folder of the filesystem is mounted: another one than / for a bind mount of a folder. */
  readonly root: string;
  readonly directory: string;
  readonly options: readonly string[];
  /** How it shares what is mounted in it with others: `shared:N`, `master:N`. */
  readonly propagation: readonly string[];
  readonly type: string;
  readonly source: string;
  /** Of the filesystem itself, wherever it is mounted. */
  readonly ownOptions: readonly string[];
  /** Who mounted it, where the filesystem tells, as those in user space do. */
  readonly userId: number | undefined;
}

/** Undoes the octal escapes of blanks, tabs, line feeds and backslashes. */
function unescape(field: string): string {
  const bytes = field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
  return Buffer.from(bytes, "latin1").toString();
}

/** Parses the text of a mountinfo file; lines that are not understood are left out. */
export function parseMountInfo(text: string): MountEntry[] {
  const entries: MountEntry[] = [];
  for (const line of text.split("\n")) {
    const fields = line.split(" ");
    const dash = fields.indexOf("-", 6);
    const [id, parentId, device, root, directory, options] = fields;
    const [type, source, ownOptions = ""] = fields.slice(dash + 1);
    if (dash < 0 || device === undefined || root === undefined || directory === undefined) continue;
    if (options === undefined || type === undefined || source === undefined) continue;
    const userId = /(?:^|,)user_id=(\d+)(?:,|$)/.exec(ownOptions)?.[1];
    entries.push({
      id: Number(id),
      parentId: Number(parentId),
      device,
      root: unescape(root),
      directory: unescape(directory),
      options: options.split(","),
      propagation: fields.slice(6, dash),
      type,
      source: unescape(source),
      ownOptions: ownOptions.split(","),
      userId: userId === undefined ? undefined : Number(userId),
    });
  }
  return entries;
}

/** Everything mounted in this process's view, oldest first. */
export function mountedFileSystems(): MountEntry[] {
  return parseMountInfo(readFileSync("/proc/self/mountinfo", "latin1"));
}
