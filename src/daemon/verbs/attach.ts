// attach, replace: a new copy on a target, in the place of another one with replace; both are caught up in the background.
// What the target holds is lost, so one that is not empty is refused unless that was asked for.

import { z } from "zod";
import { copyNamed, membersOf } from "../../copies/copy-name.ts";
import { CopiesError } from "../../copies/errors.ts";
import { closeTargets, type OpenTarget, openTargets } from "../../copies/targets.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({ target: z.string(), force: z.boolean().optional(), replaces: z.string().optional() });

/** Signatures of volumes and filesystems lie within the first bytes of a device. */
const LOOKED_AT_BYTES = 1024 * 1024;

export const attach = defineVerb(Args, async ({ volume, caretaker }, { target, force, replaces }) => {
  const replaced = replaces === undefined ? undefined : copyNamed(replaces, membersOf(volume.rootImage.view));
  const limit = { clock: volume.copies.clock, ms: volume.copies.deadlineMs };
  const opened = await openTargets([target], { writable: true, limit });
  try {
    const [only] = opened;
    if (only === undefined) return;
    if (force !== true) await refuseUsed(only);
    await (replaced === undefined ? caretaker.attach(only) : caretaker.replace(replaced, only));
  } catch (error) {
    await closeTargets(opened);
    throw error;
  }
});

async function refuseUsed({ devices }: OpenTarget): Promise<void> {
  for (const device of devices) {
    const bytes = new Uint8Array(Math.min(LOOKED_AT_BYTES, device.sizeBytes));
    await device.read(0, [bytes]);
    if (bytes.some((byte) => byte !== 0)) {
      throw new CopiesError("needed", device.name, "holds something; -f gives that up");
    }
  }
}
