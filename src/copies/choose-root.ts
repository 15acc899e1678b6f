// Which of all roots at hand is the volume's, and how each copy stands towards it.
// Invariants: I4 (a copy that missed only the last root write is in sync: its blocks were flushed before), I6 (copies are
// told apart by history, never by time, and histories that parted are never joined silently). A volume opens by itself
// only if no newer acknowledged root can be hidden: |visible ∩ IS(R)| ≥ |IS(R)| − M(R) + 1.

import { bitCount } from "../base/bits.ts";
import { messageOf } from "../base/thrown.ts";
import { equalBytes, formatUuid } from "../base/uuid.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { rowOf } from "../format/copy-row.ts";
import { MemberFlag } from "../format/last-seen.ts";
import { rootCounters, rootEpoch, rootInSync, rootMinCopies } from "../format/root-block.ts";
import { rootLastSeen, rootMemberFlags, rootMembers } from "../format/root-members.ts";
import type { Copy, Standing } from "./copy.ts";
import { CopiesError } from "./errors.ts";
import { describeHistory, hasParted, isOneBehind, isUnfinished, isUpToDate, kinship, lastComplete } from "./lineage.ts";
import { isMember } from "./membership.ts";
import { type Ring, type RingFinding, type RingRoot, ringRoots } from "./ring-slots.ts";
import type { RingSet } from "./ring-set.ts";

/** The rule by which the master is chosen among complete copies, or the copy itself (`-o master=`). */
export type MasterRule = "newest" | "first" | number;

export interface ChoosePolicy {
  /** The operator knows what is missing: any complete copy will do. */
  readonly degraded?: boolean;
  readonly master?: MasterRule;
  /** Start from this copy's last complete root, whatever the others say (`fsck.h2ts --select-master`). */
  readonly forcedMaster?: number;
  /** Bit per copy one root behind that was found to lack what the newest root names. */
  readonly rolledBack?: number;
  /**
   * Whether this root may be the one that the process before us left. Copies that others wrote to meanwhile, or that
   * are none of this volume, are left out then: nothing is taken from them, and they hold nothing up.
   */
  readonly goesOnFrom?: (root: DataView) => boolean;
  /** That process only read: what goes on from its root was written by others as well. */
  readonly onlyRead?: boolean;
}

export interface ChosenRoot {
  readonly copyIndex: number;
  /** Verified; belongs to whoever asked for it. */
  readonly image: Uint8Array;
  readonly sequence: number;
  /** Highest sequence of any verified root, the anchors' included. */
  readonly highestSequence: number;
  /** All other valid roots of the in-sync copies, each content once: what they name may not be reused yet (I3). */
  readonly olderImages: readonly Uint8Array[];
  /** Bit per member of the in-sync set that is not here or not up to date: a new epoch has to begin without them. */
  readonly lost: number;
  readonly findings: readonly RingFinding[];
}

/**
 * Chooses the root to go on from and sets the standing of every copy. The copies go on counting errors from what it
 * remembers. Throws CopiesError that names the copy at fault and what to do.
 */
export function chooseRoot(rings: RingSet, policy: ChoosePolicy = {}): ChosenRoot {
  const volume = `volume ${formatUuid(rings.copies.volumeUuid)}`;
  const found =
    policy.forcedMaster === undefined
      ? newestRoot(rings.rings.filter((ring) => !wentElsewhere(ring, rings.rings, policy)))
      : forcedRoot(rings, policy.forcedMaster, volume);
  if (found === undefined) {
    throw new CopiesError("no-root", volume, "no valid root block on any copy; the volume can't be opened");
  }
  const { ring, root } = found;
  if (policy.goesOnFrom?.(root.view) === true) rings.copies.expected = rootInSync(root.view);
  for (const other of rings.rings) {
    try {
      refuseStranger(other.copy, root);
    } catch (error) {
      const isForgiven = policy.goesOnFrom !== undefined || isBesideMember(other.copy, rings, root);
      if (!isForgiven || isLeft(other, policy)) throw error;
      dropStranger(rings, other, messageOf(error));
    }
  }
  const forced = policy.forcedMaster !== undefined;
  for (const other of rings.rings) judge(other, ring, root, policy, wentElsewhere(other, rings.rings, policy));
  const complete = rings.rings.filter(({ copy }) => copy.standing === "in-sync");
  const lost = rootInSync(root.view) & ~complete.reduce((mask, { copy }) => mask | copy.bit, 0);
  if (!forced) refuseUnsure(rings, root, complete, policy, volume);
  for (const copy of rings.copies.copies) copy.restoreCounters(rootCounters(root.view, copy.index));
  const older = new Map<string, Uint8Array>();
  let highestSequence = root.sequence;
  for (const other of rings.rings) {
    const all = ringRoots(other);
    for (const one of other.anchor === undefined ? all : [...all, other.anchor]) {
      highestSequence = Math.max(highestSequence, one.sequence);
    }
    for (const one of keptRoots(other, root))
      older.set(`${one.sequence} ${formatUuid(rootEpoch(one.view))}`, one.image);
  }
  rings.copies.master = chooseMaster(complete, ring.copy.index, root.view, policy.master);
  return {
    copyIndex: ring.copy.index,
    image: root.image.slice(),
    sequence: root.sequence,
    highestSequence,
    olderImages: [...older.values()],
    lost,
    findings: rings.rings.flatMap((other) => other.findings),
  };
}

/**
 * Roots on a ring that are older than `root` and still whole on all copies (I3): those of the time since the copy came
 * into sync. What it held before it was away is no state of the volume any more; on other copies its places may be used.
 */
export function keptRoots(ring: Ring, root: RingRoot): RingRoot[] {
  if (ring.copy.standing !== "in-sync") return [];
  const joined = rootLastSeen(root.view, ring.copy.index)?.joined ?? 0;
  return ringRoots(ring).filter(
    (one) => one.sequence >= joined && one.sequence < root.sequence && kinship(root.view, one.view) === "ancestor",
  );
}

/** True when the newest root on a copy may be the one that the process before us left. */
function isLeft(ring: Ring, { goesOnFrom }: ChoosePolicy): boolean {
  const [own] = ringRoots(ring);
  return own !== undefined && goesOnFrom?.(own.view) === true;
}

/** True for a copy that somebody else wrote to while the process before us had the volume, and did without it. */
function wentElsewhere(ring: Ring, rings: readonly Ring[], policy: ChoosePolicy): boolean {
  const [own] = ringRoots(ring);
  if (own === undefined || isLeft(ring, policy)) return false;
  const left = rings.filter((other) => isLeft(other, policy)).flatMap((other) => ringRoots(other).slice(0, 1));
  return left.some((root) => {
    const kin = kinship(root.view, own.view);
    return kin === "divergent" || (kin === "descendant" && policy.onlyRead === true);
  });
}

/** It lies on a device with a copy that the volume has: it has left, and was not struck from the header. */
function isBesideMember(copy: Copy, { copies }: RingSet, { view }: RingRoot): boolean {
  return copies.copies.some(
    (other) => isMember(view, other.index, other.uuid) && other !== copy && other.sharesDeviceWith(copy),
  );
}

/** Goes on without a copy that is none of the volume. */
function dropStranger(rings: RingSet, { copy }: Ring, reason: string): void {
  copy.standing = "divergent";
  rings.remove(copy.index);
  rings.copies.remove(copy);
  rings.copies.absent = [...rings.copies.absent, reason];
  void copy.close().catch(() => undefined);
}

export interface Found {
  readonly ring: Ring;
  readonly root: RingRoot;
}

/** The newest root that every other is an ancestor of, or stands apart from; undefined when there is none at all. */
export function newestRoot(rings: readonly Ring[]): Found | undefined {
  const found: Found[] = [];
  for (const ring of rings) {
    const [root] = ringRoots(ring);
    if (root !== undefined) found.push({ ring, root });
  }
  found.sort((a, b) => b.root.sequence - a.root.sequence);
  let [best] = found;
  if (best === undefined) return undefined;
  // A root can be higher and yet be left behind: begun on one copy when the others went on without it.
  for (const other of found) {
    const kin = kinship(best.root.view, other.root.view);
    if (kin === "descendant" || (kin !== "same" && isUnfinished(best.ring, other.root.view))) best = other;
  }
  return best;
}

function forcedRoot(rings: RingSet, copyIndex: number, volume: string): Found {
  const ring = rings.ring(copyIndex);
  if (ring === undefined) {
    throw new CopiesError("missing-copy", volume, `copy ${copyIndex} is not here; give its target too`);
  }
  const root = lastComplete(ring);
  if (root === undefined) {
    throw new CopiesError("no-root", ring.copy.name, "holds no complete state of the volume; it can't be the master");
  }
  return { ring, root };
}

function refuseStranger(copy: Copy, root: RingRoot): void {
  const seen = rootLastSeen(root.view, copy.index);
  if (seen === undefined) {
    throw new CopiesError("mixed", copy.name, `is copy ${copy.index}, which the volume does not know (any more)`);
  }
  if (!equalBytes(copy.uuid, seen.copyUuid)) {
    const known = formatUuid(seen.copyUuid);
    throw new CopiesError("mixed", copy.name, `is not the copy ${copy.index} the volume knows (${known})`);
  }
  if (copy.sizeKib !== seen.sizeKib) {
    throw new CopiesError("mixed", copy.name, `is ${copy.sizeKib} KiB long, the volume knows it with ${seen.sizeKib}`);
  }
}

/** Sets how one copy stands towards the root chosen. Refuses one that went another way, unless that is forgiven. */
function judge(ring: Ring, chosenRing: Ring, chosen: RingRoot, policy: ChoosePolicy, isForgiven: boolean): void {
  const { copy } = ring;
  const forced = policy.forcedMaster !== undefined;
  const rolledBack = ((policy.rolledBack ?? 0) & copy.bit) !== 0;
  const member = (rootInSync(chosen.view) & copy.bit) !== 0;
  const isUsual = !isOtherRow(copy, chosen.view);
  if (member && isUsual && (ring === chosenRing || (isUpToDate(ring, chosen) && !rolledBack))) {
    copy.standing = "in-sync";
    return;
  }
  const flags = rootLastSeen(chosen.view, copy.index)?.flags ?? 0;
  if ((flags & MemberFlag.LEAVING) !== 0) {
    copy.standing = "leaving";
    copy.reason = "is being detached";
    return;
  }
  const { standing, reason } = standingOf(ring, chosen, rolledBack);
  if (standing === "divergent" && !forced && !isForgiven) {
    throw divergence(ring, chosen, `${chosenRing.copy.name} (copy ${chosenRing.copy.index})`);
  }
  copy.standing = standing;
  copy.reason = reason;
  if ((flags & MemberFlag.OFFLINE) !== 0) copy.standing = "offline";
  copy.untrusted = (flags & MemberFlag.UNTRUSTED) !== 0;
}

/** Sets how a copy that comes back to a volume in use stands towards its root. Refuses a stranger, and one that went another way. */
export function judgeReturning(ring: Ring, live: RingRoot): void {
  refuseStranger(ring.copy, live);
  // Whether it missed the last root write only can't be told any more: the tree has gone on.
  const { standing, reason } = standingOf(ring, live, isOneBehind(ring, live.view));
  if (standing === "divergent") throw divergence(ring, live, "the volume");
  ring.copy.standing = standing;
  ring.copy.reason = reason;
  ring.copy.untrusted ||= ((rootLastSeen(live.view, ring.copy.index)?.flags ?? 0) & MemberFlag.UNTRUSTED) !== 0;
}

function divergence(ring: Ring, chosen: RingRoot, chosenName: string): CopiesError {
  const { copy } = ring;
  const [own] = ringRoots(ring);
  return new CopiesError(
    "divergent",
    `${copy.name} (copy ${copy.index})`,
    `went another way than ${chosenName}: it has ${own === undefined ? "no root" : describeHistory(own.view)}; the other has ${describeHistory(chosen.view)}; ` +
      "look at either with mount -o ro of its target alone, then give one up: h2ts resolve --keep COPY --discard COPY TARGET...",
  );
}

/**
 * How a copy that is not in sync stands towards `chosen` (I6). `rolledBack`: one that is one root behind did not only miss the
 * last root write.
 */
export function standingOf(ring: Ring, chosen: RingRoot, rolledBack = false): { standing: Standing; reason: string } {
  const [own] = ringRoots(ring);
  const seen = rootLastSeen(chosen.view, ring.copy.index);
  if (own === undefined) {
    return seen?.sequence === 0
      ? { standing: "stale", reason: "new, not caught up yet" }
      : { standing: "blank", reason: "has no valid root block" };
  }
  const roots = `its newest root is ${own.sequence}, the volume's is ${chosen.sequence}`;
  if (isUnfinished(ring, chosen.view)) return { standing: "stale", reason: `missed the last commits: ${roots}` };
  if (hasParted(ring, chosen.view)) return { standing: "divergent", reason: roots };
  if (isOtherRow(ring.copy, chosen.view)) {
    return { standing: "unknown", reason: "one of its nodes is not the one that the volume knows" };
  }
  if (kinship(chosen.view, own.view) === "forgotten" || seen === undefined) {
    return { standing: "unknown", reason: `was away for longer than the history remembers: ${roots}` };
  }
  if (isUpToDate(ring, chosen) && !rolledBack) return { standing: "stale", reason: `is being caught up: ${roots}` };
  if (own.sequence > seen.sequence) return { standing: "stale", reason: `missed the last commits: ${roots}` };
  if (own.sequence === seen.sequence && !equalBytes(own.version, seen.version)) {
    return { standing: "divergent", reason: `root ${own.sequence} on it is not the one that was written to it` };
  }
  return own.sequence === seen.sequence
    ? { standing: "stale", reason: `missed the last commits: ${roots}` }
    : { standing: "unknown", reason: `is older than it was when last seen (root ${seen.sequence}): ${roots}` };
}

/** A node of it was replaced, and this is the copy with the old one, or with another one that was to take its place. */
function isOtherRow(copy: Copy, view: DataView): boolean {
  const known = rootLastSeen(view, copy.index)?.row;
  return known !== undefined && copy.nodeUuids.length > 0 && !equalBytes(known, rowOf(copy.nodeUuids));
}

/** Refuses to open when a newer acknowledged root may be on copies that are not here. */
function refuseUnsure(
  rings: RingSet,
  root: RingRoot,
  complete: readonly Ring[],
  policy: ChoosePolicy,
  volume: string,
): void {
  const members = bitCount(rootInSync(root.view));
  const needed = policy.degraded === true ? 1 : members - rootMinCopies(root.view) + 1;
  if (complete.length >= needed) return;
  const missing: string[] = [];
  for (let index = 0; index < COPIES_MAX; index++) {
    if ((rootMembers(root.view) & (1 << index)) === 0) continue;
    const ring = rings.ring(index);
    if (ring?.copy.standing === "in-sync") continue;
    const seen = rootLastSeen(root.view, index);
    const inSync = (rootInSync(root.view) & (1 << index)) === 0 ? "" : ", in sync";
    const last = seen === undefined || seen.target === "" ? "" : `, last seen at ${seen.target}`;
    missing.push(
      ring === undefined
        ? `copy ${index} ${absence(rings, index)}${last}${inSync}`
        : `copy ${index} (${ring.copy.name}) ${ring.copy.reason ?? "is not complete"}`,
    );
  }
  const advice =
    complete.length > 0
      ? "give its target too, or mount with -o degraded to go on without it"
      : "no copy here is complete: give the others' targets too, or fsck.h2ts --select-master COPY to go back to what one of these had";
  const absent = rings.copies.absent.map((line) => ` (${line})`).join("");
  throw new CopiesError("missing-copy", volume, `${missing.join("; ")}${absent}; ${advice}`);
}

/** Why a copy has no ring. */
function absence({ copies }: RingSet, index: number): string {
  const copy = copies.copy(index);
  return copy === undefined ? "is missing" : `can't be used (${copy.reason ?? "does not answer"})`;
}

/** By the rule if one is given, else the copy the operator selected, else the first. */
function chooseMaster(complete: readonly Ring[], newest: number, root: DataView, rule: MasterRule | undefined): number {
  const [first] = complete;
  if (rule === "newest" || first === undefined) return newest;
  const selected = ({ copy }: Ring): boolean => (rootMemberFlags(root, copy.index) & MemberFlag.MASTER) !== 0;
  const chosen = rule === undefined ? complete.find(selected) : complete.find(({ copy }) => copy.index === rule);
  return (chosen ?? first).copy.index;
}
