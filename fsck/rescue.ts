// What a volume is opened on to be repaired: the parts that those on media are replaced by, and the operations on the tree that
// findings ask for. Where the bitmaps are wrong the volume is never opened on them (I3): what lies in a place that they call free
// would be written over.

import { FsError } from "../src/base/errno.ts";
import { BLOCKREF_BYTES } from "../src/format/blockref.ts";
import { COPIES_MAX } from "../src/format/geometry.ts";
import type { RepairAction } from "../src/ops/repair.ts";
import type { OpenOptions } from "../src/volume/open.ts";
import type { Bruise } from "./bruise.ts";
import type { Checked } from "./check.ts";
import type { Finding } from "./finding-list.ts";
import { mendedRefs } from "./mend-run.ts";
import { type BelowGivenUp, canRebuild, rebuildFreemap } from "./rebuild-freemap.ts";

/** Parts a volume is opened on instead of those on media. */
export type Rescue = Pick<OpenOptions, "recount" | "rebuildFreemap" | "superRoot" | "pfsBlock" | "isNamedTwice">;

export interface PlannedAction {
  readonly finding: Finding;
  readonly action: RepairAction;
}

export interface RepairPlan {
  readonly rescue: Rescue;
  /** Operations on the tree, each block mended once. */
  readonly actions: readonly PlannedAction[];
}

/** The bitmaps are to be computed anew, and can't be unless what `wanted` gives up is given up by the same commit. */
export function mustGiveUp(wanted: readonly Finding[], checked: Checked): boolean {
  return rebuildsFreemaps(wanted) && blindCopy(checked, "in-use") !== undefined;
}

const rebuildsFreemaps = (wanted: readonly Finding[]): boolean =>
  wanted.some(({ repair }) => repair?.kind === "freemap");

/**
 * What puts the findings `wanted` right, out of all `found`. Throws FsError when the volume can't be opened without harm: what is free
 * can't be known, or places that two blockrefs name stay as they are.
 */
export function planRepair(
  wanted: readonly Finding[],
  found: readonly Finding[],
  checked: Checked,
  belowGivenUp: BelowGivenUp,
): RepairPlan {
  const shared = found.find((finding) => finding.name === "block-shared" && !wanted.includes(finding));
  if (shared !== undefined) {
    throw new FsError("EIO", `${shared.message}: nothing is written to the tree while that is so`);
  }
  const rebuild = rebuildsFreemaps(wanted);
  const blind = rebuild ? blindCopy(checked, belowGivenUp) : undefined;
  if (blind !== undefined) {
    throw new FsError(
      "EIO",
      `the freemap of copy ${blind} and a part of the tree are lost: what is free can't be known`,
    );
  }
  const { actions, pfsBlock } = plan(wanted, checked);
  const superRoot = mendedSuperRoot(wanted, checked);
  const rescue = {
    isNamedTwice: (copy: number, kib: number, sizeKib: number) => checked.content.isContested(copy, kib, sizeKib),
    ...(rebuild && { rebuildFreemap: (copy: number) => rebuildFreemap(checked, copy, belowGivenUp) }),
    ...(superRoot && { superRoot }),
    ...(pfsBlock && { pfsBlock }),
    ...(wanted.some(({ repair }) => repair?.kind === "count") && { recount: true }),
  };
  return { rescue, actions };
}

/** A copy of the volume, here or not, whose bitmap can't be computed. */
function blindCopy(checked: Checked, belowGivenUp: BelowGivenUp): number | undefined {
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    if ((checked.bounds.copyKib[copy] ?? 0) > 0 && !canRebuild(checked, copy, belowGivenUp)) return copy;
  }
  return undefined;
}

/** The refs to PFS blocks that the root is to hold. Throws FsError when none of them can be followed to the files. */
function mendedSuperRoot(wanted: readonly Finding[], { bounds }: Checked): Uint8Array | undefined {
  for (const { repair, message } of wanted) {
    if (repair?.kind !== "super-root") continue;
    const { run } = repair;
    const bytes = new Uint8Array(run.view.buffer, run.view.byteOffset + run.at, run.refs * BLOCKREF_BYTES).slice();
    const refs = mendedRefs({ ...run, view: new DataView(bytes.buffer), at: 0 }, bounds);
    if (refs.length === 0) throw new FsError("EIO", `${message}: nothing else says where the files are`);
    bytes.fill(0).set(refs);
    return bytes;
  }
  return undefined;
}

/** Operations on the tree, and the PFS block without which the volume can't be opened. */
function plan(
  wanted: readonly Finding[],
  { bounds }: Checked,
): { readonly actions: readonly PlannedAction[]; readonly pfsBlock: Uint8Array | undefined } {
  const actions: PlannedAction[] = [];
  const mended = new Set<Bruise>();
  let pfsBlock: Uint8Array | undefined;
  for (const finding of wanted) {
    const { repair } = finding;
    if (repair?.kind === "action") actions.push({ finding, action: repair.action });
    if (repair?.kind !== "bruise" || mended.has(repair.bruise)) continue;
    mended.add(repair.bruise);
    const mending = repair.bruise.mend(bounds);
    if (mending?.kind === "pfs-block") pfsBlock = mending.bytes;
    else if (mending !== undefined) actions.push({ finding, action: mending });
  }
  return { actions, pfsBlock };
}
