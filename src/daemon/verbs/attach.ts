// attach, replace: a new copy on a target, in the place of another one with replace, or in the place of one node of it; all are
// caught up in the background.
// What the target holds is lost, so one that is not empty is refused unless that was asked for.

import { realpath, stat } from "node:fs/promises";
import { z } from "zod";
import { withinLimit } from "../../base/time-limit.ts";
import { copyOrNodeNamed, membersOf } from "../../copies/copy-name.ts";
import { CopiesError } from "../../copies/errors.ts";
import { abandonTarget, closeTargets, type OpenTarget, openTargets } from "../../copies/targets.ts";
import { usedBySystem } from "../../device/busy.ts";
import { deviceSignature, existingSignature, withArticle } from "../../device/signatures.ts";
import { isRemoteTarget } from "../../nbd/target.ts";
import { replaceNode } from "../../walk/replace-node.ts";
import { defineVerb } from "../verb.ts";

const Args = z.object({
  target: z.string(),
  force: z.boolean().optional(),
  replaces: z.string().optional(),
  abandon: z.boolean().optional(),
});

/** To look at what a target holds takes a run of blkid and a few reads, or as many as a file is searched with. */
const LOOK_MS = 30_000;

export const attach = defineVerb(Args, async ({ volume, caretaker }, { target, force, replaces, abandon }) => {
  const replaced = replaces === undefined ? undefined : copyOrNodeNamed(replaces, membersOf(volume.rootImage.view));
  const limit = { clock: volume.copies.clock, ms: volume.copies.deadlineMs };
  const opened = await openTargets([target], { writable: true, limit, open: volume.copies.open });
  try {
    const [only] = opened;
    if (only === undefined) return;
    await withinLimit(refuseUsed(only, force === true), { ...limit, ms: LOOK_MS }, () => {
      return new CopiesError("busy", target, `does not answer (waited ${LOOK_MS} ms); try again when its device does`);
    });
    if (replaced === undefined) await caretaker.attach(only);
    else if (replaced.node === undefined) await caretaker.replace(replaced.index, only);
    else {
      const which = { index: replaced.index, position: replaced.node, abandon: abandon === true };
      await replaceNode(volume, caretaker, which, only);
    }
  } catch (error) {
    if (error instanceof CopiesError && error.kind === "busy") opened.forEach(abandonTarget);
    else await closeTargets(opened);
    throw error;
  }
});

/** Refuses what the system uses, and unless `force` what holds something. */
async function refuseUsed({ devices }: OpenTarget, force: boolean): Promise<void> {
  for (const device of devices) {
    const { name } = device;
    const stats = isRemoteTarget(name) ? undefined : await stat(name);
    const used = stats === undefined ? undefined : await usedBySystem(await realpath(name), stats);
    if (used !== undefined) throw new CopiesError("occupied", name, `is ${used}; nothing was changed`);
    if (force) continue;
    const held = await (stats === undefined ? deviceSignature(device) : existingSignature(name, stats.isFile()));
    if (held !== undefined) throw new CopiesError("occupied", name, `holds ${withArticle(held)}; -f gives that up`);
  }
}
