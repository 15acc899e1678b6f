// Preparing devices for a copy that joins a volume in use. A copy has a new UUID, which every root is sealed with, so a
// root that lay there before is never taken for one of its own; its ring is wiped before the volume knows it.

import type { Clock } from "../base/clock.ts";
import { withinLimit } from "../base/time-limit.ts";
import type { BlockDevice } from "../device/device.ts";
import { Range } from "../device/range.ts";
import { CopiesError } from "./errors.ts";
import { assembleCopies } from "./assemble.ts";
import type { Copy } from "./copy.ts";
import { type LayoutIdentity, planLayout, writeHeaders } from "./layout.ts";
import { wipeRing } from "./ring-set.ts";
import type { OpenTarget } from "./targets.ts";

/** A disk may have to spin up first. */
const PREPARE_MS_MAX = 30_000;

/**
 * Waits for what is written to a device that the volume does not know yet. Throws CopiesError "busy" when that takes too long:
 * the device may not even close then.
 */
export function preparedInTime<T>(name: string, clock: Clock, work: Promise<T>): Promise<T> {
  return withinLimit(work, { clock, ms: PREPARE_MS_MAX }, () => {
    const detail = `does not answer (waited ${PREPARE_MS_MAX} ms); try again when its device does`;
    return new CopiesError("busy", name, detail);
  });
}

/** Makes copy `index` of the devices of `target`, with an empty ring. What they held is lost. Throws DeviceError, CopiesError. */
export function prepareCopy(target: OpenTarget, index: number, identity: LayoutIdentity, clock: Clock): Promise<Copy> {
  return preparedInTime(target.name, clock, newCopy(target, index, identity, clock));
}

/** Wipes what says that a node belongs to the volume: nobody is to find a member there. */
export async function disown(node: BlockDevice): Promise<void> {
  if (node instanceof Range) await node.disown();
}

/** What was prepared is not taken: its nodes are nobody's again. Where one does not answer there is nothing to be done. */
export async function disownPrepared(name: string, clock: Clock, nodes: readonly BlockDevice[]): Promise<void> {
  await preparedInTime(name, clock, Promise.allSettled(nodes.map(disown))).catch(() => undefined);
}

async function newCopy(target: OpenTarget, index: number, identity: LayoutIdentity, clock: Clock): Promise<Copy> {
  const { name, devices } = target;
  const [headers] = planLayout([{ name, nodes: devices, copies: 1 }], identity, index);
  if (headers === undefined) throw new CopiesError("syntax", name, "names no device");
  await writeHeaders(devices, headers);
  const [copy] = (await assembleCopies([target], { clock })).copies;
  if (copy === undefined) throw new CopiesError("missing-node", name, "is not a whole row");
  await wipeRing(copy);
  if (copy.failure !== undefined) throw copy.failure;
  return copy;
}
