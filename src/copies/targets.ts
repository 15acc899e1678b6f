// Targets as people give them: one copy each, `a.img+b.img` for a row of nodes. Opening them locks them.

import { statSync } from "node:fs";
import { type BlockDevice, DeviceError } from "../device/device.ts";
import { openNode } from "../device/open.ts";
import { CopiesError } from "./errors.ts";

/** What a disk that was taken away, or is dying, answers when it is opened. */
const ABSENT: ReadonlySet<string> = new Set(["ENOENT", "ENXIO", "ENODEV", "EIO", "ENOMEDIUM", "ENOTCONN", "ESTALE"]);

/** A target whose devices are open, in the order given. */
export interface OpenTarget {
  readonly name: string;
  readonly devices: readonly BlockDevice[];
}

/** Splits a target into the paths of its nodes. A path that exists is taken as it is, even with a plus sign in it. */
export function nodePaths(target: string): string[] {
  if (target === "") throw new CopiesError("syntax", "target", "is empty; give an image file or a block device");
  if (exists(target)) return [target];
  const paths = target.split("+");
  if (paths.includes("")) throw new CopiesError("syntax", target, "a node between the plus signs has no name");
  return paths;
}

/**
 * Opens all nodes of all targets; closes what it opened when one fails. With `absent`, a target that is not there is
 * noted in it and left out, as long as another one is; one that is in use, or of the wrong kind, is always refused.
 */
export async function openTargets(
  targets: readonly string[],
  writable: boolean,
  absent?: string[],
): Promise<OpenTarget[]> {
  const paths = targets.map(nodePaths);
  refuseTwice(paths.flat());
  const opened: OpenTarget[] = [];
  let first: DeviceError | undefined;
  try {
    for (const [i, name] of targets.entries()) {
      const devices: BlockDevice[] = [];
      const target = { name, devices };
      opened.push(target);
      try {
        for (const path of paths[i] as string[]) devices.push(await openNode(path, { writable }));
      } catch (error) {
        if (absent === undefined || !(error instanceof DeviceError) || !ABSENT.has(error.code)) throw error;
        first ??= error;
        absent.push(error.message);
        await closeTargets([target]);
        opened.pop();
      }
    }
    if (opened.length === 0 && first !== undefined) throw first;
    return opened;
  } catch (error) {
    await closeTargets(opened);
    throw error;
  }
}

export async function closeTargets(targets: readonly OpenTarget[]): Promise<void> {
  await Promise.allSettled(targets.flatMap((target) => target.devices.map((device) => device.close())));
}

function refuseTwice(paths: readonly string[]): void {
  const seen = new Map<string, string>();
  for (const path of paths) {
    const identity = identityOf(path);
    if (identity === undefined) continue;
    const twin = seen.get(identity);
    if (twin !== undefined) {
      const same = twin === path ? "" : ` (it is the same as ${twin})`;
      throw new CopiesError("twice", path, `is given twice${same}; give each device once`);
    }
    seen.set(identity, path);
  }
}

function identityOf(path: string): string | undefined {
  const stats = statSync(path, { throwIfNoEntry: false, bigint: true });
  if (stats === undefined) return undefined;
  return stats.isBlockDevice() ? `block ${stats.rdev}` : `file ${stats.dev}:${stats.ino}`;
}

function exists(path: string): boolean {
  try {
    return statSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    return false;
  }
}
