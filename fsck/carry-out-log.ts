// The first step of a repair where operations wait in the log: a volume opened on what a check computed, wherever the parts on media
// are wrong, carries them out, and one commit makes that durable. Until then root and log are as they were (I4).

import { FsError } from "../src/base/errno.ts";
import { messageOf } from "../src/base/thrown.ts";
import { CopiesError, CopiesLostError, FencedError } from "../src/copies/errors.ts";
import { DeviceError } from "../src/device/device.ts";
import type { Volume } from "../src/volume/volume.ts";
import type { Finding } from "./finding-list.ts";
import type { LookedAt, RepairContext, RepairFailure } from "./repair-context.ts";
import { planRepair } from "./rescue.ts";

/**
 * Undefined when what waits in the log is in the tree now; else why it can't be, and nothing was changed. Throws, as a mount does,
 * for what is not on the media: CopiesError, FsError EROFS when too few copies are given to write to them, DeviceError and the like
 * when they fail.
 */
export async function carryOutLog(
  context: RepairContext,
  log: Finding,
  { wanted, found, checked }: LookedAt,
): Promise<RepairFailure | undefined> {
  let volume: Volume;
  try {
    const { rescue } = planRepair(wanted, found, checked);
    volume = await context.openVolume({ ...rescue, dropLostLog: log.name === "log-lost" });
  } catch (error) {
    if (isOperational(error)) throw error;
    return { finding: log, message: `the log can't be carried out: ${messageOf(error)}` };
  }
  try {
    // Also when there was nothing to carry out: the root still names what could not be read.
    await volume.forceCommit();
  } finally {
    await volume.close();
  }
  return undefined;
}

function isOperational(error: unknown): boolean {
  const kinds = [CopiesError, CopiesLostError, FencedError, DeviceError];
  return kinds.some((kind) => error instanceof kind) || (error instanceof FsError && error.code === "EROFS");
}
