// Who belongs to the volume and who is in sync, as the live root image says: the edits of it that go with a copy leaving
// or joining. Pure. Invariants: I2 (a new epoch whenever the in-sync set shrinks), I6 (what was last seen of a copy stays).

import { bitCount } from "../base/bits.ts";
import { equalBytes, type Uuid } from "../base/uuid.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { MemberFlag } from "../format/last-seen.ts";
import { rootInSync, rootMinCopies, setRootCopyCount, setRootInSync, setRootMinCopies } from "../format/root-block.ts";
import { beginRootEpoch } from "../format/root-history.ts";
import {
  rootLastSeen,
  rootMemberFlags,
  rootMembers,
  setRootJoined,
  setRootMemberFlags,
} from "../format/root-members.ts";

/** In-sync copies below which a volume turns read-only: one of two, a majority from three. */
export function minCopiesFor(copyCount: number): number {
  return copyCount < 3 ? 1 : Math.floor(copyCount / 2) + 1;
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
  return rootMembers(view) & ~membersWith(view, MemberFlag.LEAVING);
}

/** True when the copy of this index and UUID is a member: another one may have got its index since it left. */
export function isMember(view: DataView, index: number, copyUuid: Uuid): boolean {
  const seen = rootLastSeen(view, index);
  return seen !== undefined && equalBytes(seen.copyUuid, copyUuid);
}

/** Bit for each member that has this MemberFlag. */
export function membersWith(view: DataView, flag: number): number {
  const members = rootMembers(view);
  let mask = 0;
  for (let index = 0; index < COPIES_MAX; index++) {
    if ((members & (1 << index)) !== 0 && (rootMemberFlags(view, index) & flag) !== 0) mask |= 1 << index;
  }
  return mask;
}

/** Copies that must be in sync when those of `gone` are members no more: one that was never complete does not count. */
export function minCopiesWithout(view: DataView, gone: number): number {
  return minCopiesFor(bitCount(stayingMembers(view) & ~membersWith(view, MemberFlag.ARRIVING) & ~gone));
}

/** Brings the number of copies, and of those needed, in line with the members. */
export function recountMembers(view: DataView): void {
  setRootCopyCount(view, bitCount(stayingMembers(view)), minCopiesWithout(view, 0));
}

/** Members, not on their way out, whose places those of `copies` take. */
export function replacedBy(view: DataView, copies: number): number {
  let replaced = 0;
  for (let index = 0; index < COPIES_MAX; index++) {
    if ((copies & membersWith(view, MemberFlag.REPLACING) & (1 << index)) === 0) continue;
    const bit = 1 << (rootLastSeen(view, index)?.replaces ?? index);
    if (bit !== 1 << index) replaced |= bit;
  }
  return replaced & stayingMembers(view);
}

/**
 * The copies of `joining` are in sync with root `sequence`. Those they replace are on their way out with it, unless they are in sync: the
 * in-sync set changes by one member in a root, so these leave by a later one (see Caretaker). As many copies are
 * needed as the volume's size asks for, but no more than are in sync.
 */
export function joinSync(view: DataView, joining: number, sequence: number): void {
  const replaced = replacedBy(view, joining) & ~rootInSync(view);
  for (let index = 0; index < COPIES_MAX; index++) {
    const flags = rootMemberFlags(view, index);
    if ((replaced & (1 << index)) !== 0) setRootMemberFlags(view, index, flags | MemberFlag.LEAVING);
    if ((joining & (1 << index)) === 0) continue;
    setRootMemberFlags(view, index, flags & ~(MemberFlag.ARRIVING | MemberFlag.UNTRUSTED));
    setRootJoined(view, index, sequence);
  }
  setRootInSync(view, rootInSync(view) | joining);
  const going = replacedBy(view, rootInSync(view));
  setRootCopyCount(view, bitCount(stayingMembers(view)), minCopiesWithout(view, going));
  setRootMinCopies(view, Math.min(rootMinCopies(view), bitCount(rootInSync(view) & ~going)));
}
