// What tells devices apart, whatever their paths.

import type { BigIntStats } from "node:fs";

/** The same for two paths to one device. */
export function deviceIdentity(stats: BigIntStats): string {
  return stats.isBlockDevice() ? `block ${stats.rdev}` : `file ${stats.dev}:${stats.ino}`;
}

/** The same as long as the device is: a file made anew under the number of one that was deleted is another one. */
export function deviceIncarnation(stats: BigIntStats): string {
  const identity = deviceIdentity(stats);
  return stats.isBlockDevice() ? identity : `${identity}:${stats.birthtimeNs}`;
}
