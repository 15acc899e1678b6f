// What the root rings tell: damaged and lagging roots as findings, and the root the check begins at. Reading and ranking
// are those of a mount (src/copies), so that fsck looks at the very root a mount would go on from.

import type { Copy, CopySet } from "../src/copies/copy-set.ts";
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
 * Reads all rings and reports what is wrong with them. After a power cut one slot of a copy may be torn: the root being
 * written when it happened; that is worth a note only.
 */
export async function checkRings(copies: CopySet, list: FindingList, afterPowerCut: boolean): Promise<RingReport> {
  const { rings } = await readRings(copies);
  for (const ring of rings) reportRing(ring, list, afterPowerCut);
  let newest: RingRoot | undefined;
  for (const ring of rings) {
    const [first] = ringRoots(ring);
    if (first !== undefined && first.sequence > (newest?.sequence ?? -1)) newest = first;
  }
  if (newest !== undefined) for (const ring of rings) reportLag(ring, newest, rings, list);
  return { rings, newest };
}

function reportRing(ring: Ring, list: FindingList, afterPowerCut: boolean): void {
  const { copy, findings } = ring;
  const damaged = new Set(findings.filter(({ kind }) => KINDS[kind] === "root-slot").map(({ slot }) => slot));
  const torn: { severity?: Severity } = afterPowerCut && damaged.size === 1 ? { severity: "note" } : {};
  for (const { kind, message } of findings) {
    const name = KINDS[kind];
    const place = { copy: copy.index, ...(name === "root-slot" ? torn : {}) };
    if (name === "anchor-slot") list.add(name, message, place);
    else list.add(name, message, { ...place, repair: { kind: "ring" } });
  }
  if (ring.anchor !== undefined) {
    list.add("anchor-slot", `${copyName(copy)}: the anchor holds root ${ring.anchor.sequence}`, { copy: copy.index });
  }
}

/** One commit behind is what a power cut leaves; more than that, the copy was away. */
function reportLag({ copy, slots }: Ring, newest: RingRoot, rings: readonly Ring[], list: FindingList): void {
  const own = Math.max(-1, ...slots.map((root) => root?.sequence ?? -1));
  if (own === newest.sequence) return;
  if (own < 0) {
    list.add("root-lost", `${copyName(copy)}: no valid root`, { copy: copy.index });
    return;
  }
  const holder = rings.find((ring) => ring.slots.includes(newest));
  const before = holder === undefined ? undefined : ringRoots(holder)[1];
  const message = `${copyName(copy)}: newest root is ${own}, the volume's is ${newest.sequence}`;
  if (own >= (before?.sequence ?? newest.sequence - 1)) {
    list.add("root-behind", message, { copy: copy.index, repair: { kind: "ring" } });
  } else list.add("root-stale", message, { copy: copy.index });
}
