// What the root rings tell: damaged and lagging roots as findings, and the root the check begins at. Reading and ranking
// are those of a mount (src/copies), so that fsck looks at the very root a mount would go on from.

import type { Copy, CopySet } from "../src/copies/copy-set.ts";
import { newestRoot, standingOf } from "../src/copies/choose-root.ts";
import { isUpToDate } from "../src/copies/lineage.ts";
import { MemberFlag } from "../src/format/last-seen.ts";
import { rootInSync } from "../src/format/root-block.ts";
import { rootLastSeen } from "../src/format/root-members.ts";
import { readRings, type Ring, type RingFindingKind, type RingRoot, ringRoots } from "../src/copies/ring.ts";
import type { FindingList } from "./finding-list.ts";
import type { FindingName, Severity } from "./findings.ts";

export interface RingReport {
  readonly rings: readonly Ring[];
  /** The newest root of all; undefined when no copy has one. */
  readonly newest: RingRoot | undefined;
}

const KINDS: Readonly<Record<RingFindingKind, FindingName>> = {
  "duplicate-lost": "root-slot",
  "slot-lost": "root-slot",
  "duplicate-differs": "root-behind",
  "chain-disagrees": "root-chain",
  "sequence-jump": "root-jump",
  "anchor-damaged": "anchor-slot",
};

export function copyName(copy: Copy): string {
  return `copy ${copy.index} (${copy.name})`;
}

/**
 * Reads all rings and reports what is wrong with them. Every power cut may tear one slot of a copy, that of the root
 * being written when it happened, as long as another slot is left to go on from; that is worth a note only.
 */
export async function checkRings(copies: CopySet, list: FindingList, powerCuts: number): Promise<RingReport> {
  const { rings } = await readRings(copies);
  for (const ring of rings) reportRing(ring, list, powerCuts);
  const newest = rings.length === 0 ? undefined : newestRoot(rings)?.root;
  for (const ring of rings) {
    if (newest !== undefined) reportLag(ring, newest, list);
    reportAnchor(ring, newest, list);
  }
  return { rings, newest };
}

function reportRing(ring: Ring, list: FindingList, powerCuts: number): void {
  const { copy, findings } = ring;
  const damaged = new Set(findings.filter(({ kind }) => KINDS[kind] === "root-slot").map(({ slot }) => slot));
  const torn: { severity?: Severity } =
    damaged.size <= powerCuts && ringRoots(ring).length > 0 ? { severity: "note" } : {};
  for (const { kind, message } of findings) {
    const name = KINDS[kind];
    if (name === "anchor-slot") continue;
    const place = { copy: copy.index, ...(name === "root-slot" ? torn : {}) };
    list.add(name, message, { ...place, repair: { kind: "ring" } });
  }
}

/** A copy in sync needs no anchor: what is there is emptied. One that is caught up gets it anew before it goes on. */
function reportAnchor({ copy, anchor, findings }: Ring, newest: RingRoot | undefined, list: FindingList): void {
  const needless = newest !== undefined && copy.standing === "in-sync" && (rootInSync(newest.view) & copy.bit) !== 0;
  const place = { copy: copy.index, ...(needless && { repair: { kind: "anchor", copy: copy.index } as const }) };
  for (const { kind, message } of findings) if (KINDS[kind] === "anchor-slot") list.add("anchor-slot", message, place);
  if (anchor === undefined || !needless) return;
  const message = `${copyName(copy)}: the anchor holds root ${anchor.sequence} although the copy is in sync`;
  list.add("anchor-slot", message, { ...place, severity: "note" });
}

/** Sets how the copy stands towards the newest root, and says so. One commit behind is what a power cut leaves. */
function reportLag(ring: Ring, newest: RingRoot, list: FindingList): void {
  const { copy } = ring;
  const own = ringRoots(ring)[0]?.sequence;
  const member = (rootInSync(newest.view) & copy.bit) !== 0;
  const place = { copy: copy.index };
  const message = `${copyName(copy)}: newest root is ${own ?? "lost"}, the volume's is ${newest.sequence}`;
  copy.standing = "in-sync";
  if (member && isUpToDate(ring, newest)) {
    if (own !== newest.sequence) list.add("root-behind", message, { ...place, repair: { kind: "ring" } });
    return;
  }
  // A copy whose pointers are promises is verified like the others, as far as it goes.
  const { standing } = standingOf(ring, newest);
  const flags = rootLastSeen(newest.view, copy.index)?.flags ?? 0;
  copy.untrusted = standing !== "stale" || (flags & MemberFlag.UNTRUSTED) !== 0;
  copy.standing = "syncing";
  if (own === undefined) list.add("root-lost", `${copyName(copy)}: no valid root`, place);
  else if (member) list.add("root-stale", message, place);
}
