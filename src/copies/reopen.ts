// Opens a copy that comes back to a volume in use, and judges where it stands.
// Invariants: I6 (only this volume's copy of that index is taken, and one that went another way never is), I11 (its devices
// are locked where that is possible; one on a foreign server is claimed by its heartbeat before its ring is read), I12.
// A device that other copies in use lie on as well is open already: the copy goes on with it. One that is opened for one of several
// copies is handed to the others, too: nobody could open it once more.

import { type TimeLimit, withinLimit } from "../base/time-limit.ts";
import { equalBytes, formatUuid } from "../base/uuid.ts";
import type { DeviceError } from "../device/device.ts";
import { OpenError } from "../device/open-error.ts";
import { Range } from "../device/range.ts";
import { assembleCopies, letGo } from "./assemble.ts";
import { judgeReturning } from "./choose-root.ts";
import { Copy } from "./copy.ts";
import type { CopySet } from "./copy-set.ts";
import { CopiesError, type CopiesErrorKind } from "./errors.ts";
import { type Ring, type RingRoot, readRing } from "./ring-slots.ts";
import { openTargets } from "./targets.ts";

/** A copy whose devices were opened for it, not yet in the set, and others that lie on the same device. */
export interface Opened {
  readonly copy: Copy;
  readonly others: readonly Copy[];
}

/** Opens `target`, which has copy `index` of the volume of `set`. Throws DeviceError or CopiesError. */
export async function openCopy(set: CopySet, index: number, target: string): Promise<Opened> {
  const limit = limitOf(set);
  const opened = await openTargets([target], { writable: true, limit, open: set.open });
  try {
    const found = await withinLimit(assembleCopies(opened, { clock: set.clock }), limit, () => silent(target, limit));
    if (!equalBytes(found.volumeUuid, set.volumeUuid)) {
      throw new CopiesError(
        "mixed",
        target,
        `belongs to volume ${formatUuid(found.volumeUuid)}; give a copy of this one`,
      );
    }
    const copy = found.copy(index);
    const others = found.copies.filter((other) => other !== copy);
    if (copy !== undefined && others.every((other) => other.sharesDeviceWith(copy))) return { copy, others };
    const there = found.copies.map((other) => other.index).join(" and ");
    const but = copy === undefined ? `not copy ${index}` : `not copy ${index} alone`;
    throw new CopiesError("mixed", target, `holds copy ${there}, ${but}; give the target of copy ${index}`);
  } catch (error) {
    await letGo(opened, error);
    throw error instanceof CopiesError && LOST.has(error.kind) ? contentLost(target, index, error) : error;
  }
}

/** A call that a program waits for may take one deadline, and so may a device that is looked at (I9). */
const limitOf = (set: CopySet): TimeLimit => ({ clock: set.clock, ms: set.deadlineMs });

const silent = (target: string, { ms }: TimeLimit): DeviceError =>
  new OpenError(target, "read", "ETIMEDOUT", `does not answer (waited ${ms} ms); try again when its device does`);

/** What is there is no copy any more: an image that was cut off, an empty disk. */
const LOST: ReadonlySet<CopiesErrorKind> = new Set(["damaged-header", "empty", "foreign"]);

function contentLost(target: string, index: number, { kind }: CopiesError): CopiesError {
  return new CopiesError(
    kind,
    target,
    `holds no copy of this volume any more (cut off, emptied or overwritten); give copy ${index} a new medium with ` +
      `h2ts replace DIR ${index} TARGET`,
  );
}

/** The copies of `set` that lie on a device of `copy`, itself among them. */
export const onDeviceOf = (copy: Copy, set: CopySet): readonly Copy[] => [
  copy,
  ...set.copies.filter((other) => other !== copy && other.sharesDeviceWith(copy)),
];

/**
 * A fresh start for a copy whose devices stay open, or those `over` which it goes on: what it never flushed before is promised to
 * nobody any more (I2). Like any copy that comes back it has to be claimed before anything is written to it (I11). It is not trusted if a
 * device lost what it had flushed (I1, I6).
 */
export function freshCopy(old: Copy, over: Pick<Copy, "device" | "targets" | "nodeUuids"> = old): Copy {
  const fresh = new Copy(old.index, old.uuid, over.device, over.targets, over.nodeUuids);
  fresh.untrusted = fresh.lostContent;
  for (const { device } of fresh.nodes) if (device instanceof Range) device.startAnew();
  old.leaveLimit();
  fresh.writableUntilMs = Infinity;
  return fresh;
}

/**
 * Reads the ring of a copy that came back and sets its standing towards `live`. Throws CopiesError for one that may not return,
 * DeviceError when it does not answer.
 */
export async function readReturning(copy: Copy, set: CopySet, live: RingRoot): Promise<Ring> {
  const limit = limitOf(set);
  const ring = await withinLimit(readRing({ copy, read: copy.read.bind(copy) }, set.volumeUuid), limit, () =>
    silent(copy.name, limit),
  );
  judgeReturning(ring, live);
  return ring;
}
