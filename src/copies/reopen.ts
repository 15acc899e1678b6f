// Opens a copy that comes back to a volume in use, and judges where it stands.
// Invariants: I6 (only this volume's copy of that index is taken, and one that went another way never is), I11 (its devices
// are locked where that is possible; one on a foreign server has no heartbeat before the next mount), I12.
// A device that other copies lie on as well is open already: the copy goes on with it.

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

/** Opens `target` and gives its copy `index` of the volume of `set`, not yet in the set. Throws DeviceError or CopiesError. */
export async function openCopy(set: CopySet, index: number, target: string): Promise<Copy> {
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
    if (copy !== undefined && found.copies.length === 1) return copy;
    const there = found.copies.map((other) => other.index).join(" and ");
    throw new CopiesError(
      "mixed",
      target,
      `holds copy ${there}, not copy ${index} alone; give the target of copy ${index}`,
    );
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

/** True when other copies lie on its device too, which stays open for them. */
export const sharesDevice = ({ device }: Copy): boolean => device instanceof Range && device.isShared;

/** A fresh start for a copy whose device stays open: what it never flushed before is promised to nobody any more (I2). */
export function freshCopy({ index, uuid, device, targets, nodeUuids, nodes }: Copy): Copy {
  for (const node of nodes) if (node.device instanceof Range) node.device.startAnew();
  return new Copy(index, uuid, device, targets, nodeUuids);
}

/**
 * Reads the ring of a copy that came back and sets its standing towards `live`. Throws CopiesError for one that may not return,
 * DeviceError when it does not answer. `opened`: its devices were opened for that and are closed when it throws.
 */
export async function readReturning(copy: Copy, set: CopySet, live: RingRoot, opened: boolean): Promise<Ring> {
  const limit = limitOf(set);
  try {
    const ring = await withinLimit(readRing({ copy, read: copy.read.bind(copy) }, set.volumeUuid), limit, () =>
      silent(copy.name, limit),
    );
    judgeReturning(ring, live);
    return ring;
  } catch (error) {
    if (opened) await letGo([{ name: copy.name, devices: [copy.device] }], error);
    throw error;
  }
}
