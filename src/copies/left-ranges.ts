// A device that holds several copies lists them in one header. When one of them leaves for good, its range is struck from that
// header. Until then, or where that could not be done, whoever opens the device leaves the range out.
// Invariants: I6 (the newest root decides, and it knows copies by their UUIDs: the index may be another one's by now), I2 (a flush
// of the header that fails has failed for every copy on the device), I12 (roots and headers are verified before they count).

import { type TimeLimit, withinLimit } from "../base/time-limit.ts";
import type { Uuid } from "../base/uuid.ts";
import { Range } from "../device/range.ts";
import { encodeNodeHeader, NODE_HEADER_OFFSETS } from "../format/node-header.ts";
import { newestRoot } from "./choose-root.ts";
import { Copy } from "./copy.ts";
import { hasParted } from "./lineage.ts";
import { isMember } from "./membership.ts";
import { readNodeHeader } from "./read-header.ts";
import { type Ring, readRing } from "./ring-slots.ts";

/**
 * Closes those of `copies` that have left and lie on a device with one that has not; tells which, and which are the others. A copy
 * none of whose neighbours is a member either is a stranger: whoever chooses the root says so. `limit`: how long a ring may take to
 * read.
 */
export async function withoutLeft(
  copies: readonly Copy[],
  volumeUuid: Uuid,
  limit: TimeLimit | undefined,
): Promise<{ readonly staying: readonly Copy[]; readonly left: readonly Copy[] }> {
  const left = await findLeft(copies, volumeUuid, limit);
  for (const copy of left) await copy.close();
  return { staying: copies.filter((copy) => !left.includes(copy)), left };
}

async function findLeft(
  copies: readonly Copy[],
  volumeUuid: Uuid,
  limit: TimeLimit | undefined,
): Promise<readonly Copy[]> {
  if (!copies.some((copy) => neighbours(copy, copies).length > 0)) return [];
  const read = await Promise.all(copies.map((copy) => ringOf(copy, volumeUuid, limit)));
  const rings = read.filter((ring) => ring !== undefined);
  const newest = newestRoot(rings);
  if (newest === undefined) return [];
  const { view } = newest.root;
  // What has left by one history may be in sync by another: which of them holds is not decided here (I6).
  if (rings.some((ring) => hasParted(ring, view))) return [];
  const belongs = ({ index, uuid }: Copy): boolean => isMember(view, index, uuid);
  return copies.filter((copy) => !belongs(copy) && neighbours(copy, copies).some(belongs));
}

/** Others that lie on a device of `copy`. */
const neighbours = (copy: Copy, copies: readonly Copy[]): readonly Copy[] =>
  copies.filter((other) => other !== copy && other.sharesDeviceWith(copy));

/** Undefined for a device that does not answer in time. What is met here is met, and counted, once more when the volume is opened. */
async function ringOf(copy: Copy, volumeUuid: Uuid, limit: TimeLimit | undefined): Promise<Ring | undefined> {
  const { index, uuid, device, targets } = copy;
  const uncounted = new Copy(index, uuid, device, targets);
  const reading = readRing({ copy: uncounted, read: uncounted.read.bind(uncounted) }, volumeUuid);
  return withinLimit<Ring | undefined>(reading, limit, () => new Error("late")).catch(() => undefined);
}

/**
 * Has the header of each device that `copy` shares list the members of the volume only, by its live root. One place of the header
 * after the other, so that a power cut leaves one of them. Rejects when the device does.
 */
export async function strikeLeft(copy: Copy, view: DataView): Promise<void> {
  for (const { device } of copy.nodes) {
    if (!(device instanceof Range) || !device.isShared) continue;
    const header = await readNodeHeader(device.whole);
    const ranges = header.ranges.filter(({ copyIndex, copyUuid }) => isMember(view, copyIndex, copyUuid));
    if (ranges.length === 0) continue;
    for (const at of NODE_HEADER_OFFSETS) {
      await device.whole.write(at, [encodeNodeHeader({ ...header, ranges }, at)]);
      await device.flush();
    }
  }
}
