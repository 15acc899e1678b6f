// Who belongs to the volume and who is in sync, as the live root image says: the edits of it that go with a copy leaving
// or joining. Pure. Invariants: I2 (a new epoch whenever the in-sync set shrinks), I6 (what was last seen of a copy stays).

import type { Uuid } from "../base/uuid.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import {
  beginRootEpoch,
  MemberFlag,
  rootInSync,
  rootMemberFlags,
  rootMembers,
  setRootCopyCount,
  setRootInSync,
} from "../format/root-block.ts";

/** In-sync copies below which a volume turns read-only: one of two, a majority from three (RELIABILITY.md). */
export function minCopiesFor(copyCount: number): number {
  return copyCount < 3 ? 1 : Math.floor(copyCount / 2) + 1;
}

export function bitCount(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/** Takes the copies of `mask` out of the in-sync set; when that shrinks it, a new epoch begins. */
export function leaveSync(view: DataView, mask: number, newEpoch: () => Uuid): void {
  const before = rootInSync(view);
  const after = before & ~mask;
  if (after === before) return;
  beginRootEpoch(view, newEpoch());
  setRootInSync(view, after);
}

/** Members that are not on their way out: those the volume counts. */
export function stayingMembers(view: DataView): number {
  let mask = rootMembers(view);
  for (let index = 0; index < COPIES_MAX; index++) {
    if ((mask & (1 << index)) !== 0 && (rootMemberFlags(view, index) & MemberFlag.LEAVING) !== 0) mask &= ~(1 << index);
  }
  return mask;
}

/** Brings the number of copies, and of those needed, in line with the members. */
export function recountMembers(view: DataView): void {
  const count = bitCount(stayingMembers(view));
  setRootCopyCount(view, count, minCopiesFor(count));
}
