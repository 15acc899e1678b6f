// Tells whether the system uses a device or an image right now: mounted, swapped to, or attached to a loop device.

import { readdirSync, readFileSync, type Stats } from "node:fs";
import { stat as statPath } from "node:fs/promises";
import { deviceName } from "../base/device-number.ts";
import { deviceIdentity } from "./identity.ts";
import { otherNames } from "./other-names.ts";

/** How `path` is in use, in words; undefined when it is not. `stat` is that of the file behind it. */
export async function usedBySystem(path: string, stat: Stats): Promise<string | undefined> {
  if (stat.isBlockDevice()) {
    const number = deviceName(stat.rdev);
    const mount = lines("/proc/self/mountinfo").find((line) => line.split(" ")[2] === number);
    if (mount !== undefined) return `mounted on ${mount.split(" ")[4]}`;
    if (holders(number).length > 0) return `in use by ${holders(number).join(", ")}`;
  }
  if (lines("/proc/swaps").some((line) => line.split(/\s+/)[0] === path)) return "in use as swap";
  return stat.isFile() ? loopDeviceOf(path) : undefined;
}

// Device mapper, md and the like list themselves as holders of a disk or of one of its partitions.
function holders(number: string): string[] {
  return names(`/sys/dev/block/${number}/holders`);
}

async function loopDeviceOf(path: string): Promise<string | undefined> {
  const [loop] = await otherNames(path, deviceIdentity(await statPath(path, { bigint: true })));
  return loop === undefined ? undefined : `attached to ${loop.path}`;
}

function lines(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n");
  } catch {
    return [];
  }
}

function names(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
