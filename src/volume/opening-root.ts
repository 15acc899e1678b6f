// The root that a volume goes on from when it is opened, the copies that it goes on with, and whether it may be written to.
// Nothing is written here.
// Invariants: I2 (copies that failed under the process before us are left behind; too few copies, and nothing is written), I6 (a
// copy that was rolled back counts for nothing), I12 (what the root names is looked at before it is used).

import { bitCount } from "../base/bits.ts";
import { FsError } from "../base/errno.ts";
import { type ChosenRoot, chooseRoot } from "../copies/choose-root.ts";
import type { Copy, CopySet } from "../copies/copy-set.ts";
import { CopiesError } from "../copies/errors.ts";
import { recountMembers } from "../copies/membership.ts";
import { type RingSet, readRings } from "../copies/ring-set.ts";
import { BLOCKREF_BYTES } from "../format/blockref.ts";
import { mountability } from "../format/features.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import {
  ROOT_FREEMAPS_OFFSET,
  ROOT_SUPER_OFFSET,
  rootFeatures,
  rootFormatVersion,
  rootInSync,
} from "../format/root-block.ts";
import { mayGoOnAlone, type RootTerms, rootTerms } from "../format/root-terms.ts";
import type { Block } from "../tree/block.ts";
import type { BlockRules } from "../tree/validate.ts";
import { goesOnWithFewer, hasRecords, knowsNewest, type OpenOptions } from "./open-options.ts";
import { rolledBackCopies } from "./rolled-back.ts";
import { checkRootRefs, imageBlock, rulesFor } from "./root-image.ts";

/** The root that is gone on from. */
export interface OpeningRoot {
  readonly rings: RingSet;
  readonly chosen: ChosenRoot;
  /** Its image, to be changed. */
  readonly image: Block;
  readonly rules: BlockRules;
  /** Copies that are left behind because they failed under the process before us. */
  readonly failed: readonly Copy[];
}

/** Whether the volume may be written to. */
export interface OpeningTerms {
  readonly readOnly: boolean;
  /** Why it may not, when nobody asked for that. */
  readonly readOnlyReason: string | undefined;
  /** Set when fewer copies are complete than it needs, whatever else keeps it from being written to. */
  readonly tooFew: string | undefined;
}

/** Reads the rings and sets the standing of every copy. Throws CopiesError, or FsError EIO. */
export async function findRoot(copies: CopySet, options: OpenOptions): Promise<OpeningRoot> {
  const rings = await readRings(copies);
  const { chosen, failed } = withoutFailed(await chooseTrusted(rings, options), copies, options);
  const image = mendedImage(chosen, options);
  if (options.recount === true) recountMembers(image.view);
  return { rings, chosen, image, rules: rulesFor(image.view), failed };
}

/** The root with what whoever opens the volume has instead of parts of it. */
function mendedImage({ image }: ChosenRoot, { superRoot, rebuildFreemap }: OpenOptions): Block {
  const bytes = image.slice();
  if (superRoot !== undefined) bytes.set(superRoot, ROOT_SUPER_OFFSET);
  // Trees of bitmaps that are computed anew start empty.
  if (rebuildFreemap !== undefined)
    bytes.fill(0, ROOT_FREEMAPS_OFFSET, ROOT_FREEMAPS_OFFSET + COPIES_MAX * BLOCKREF_BYTES);
  return imageBlock(bytes);
}

/** Throws FsError EINVAL for a root of a format that can't be opened here. */
export function termsOf({ image: { view }, chosen }: OpeningRoot, options: OpenOptions): OpeningTerms {
  const verdict = mountability(rootFormatVersion(view), rootFeatures(view));
  if (verdict.kind === "refuse") throw new FsError("EINVAL", verdict.reason);
  const tooFew = tooFewCopies(view, chosen, options);
  const readOnlyReason = verdict.kind === "read-only" ? verdict.reason : (tooFew ?? options.readOnlyReason);
  return { readOnly: options.readOnly === true || readOnlyReason !== undefined, readOnlyReason, tooFew };
}

/** Chooses the root, having looked at what copies that are one root behind it hold. */
async function chooseTrusted(rings: RingSet, options: OpenOptions): Promise<ChosenRoot> {
  const { journal } = options;
  const policy = {
    ...options,
    degraded: options.degraded === true || knowsNewest(options),
    ...(knowsNewest(options) && { goesOnFrom: (root: DataView) => journal?.knows(root) === true }),
    onlyRead: !hasRecords(options),
  };
  const chosen = chooseRoot(rings, policy);
  const newest = mendedImage(chosen, options);
  const rules = rulesFor(newest.view);
  checkRootRefs(rules, newest);
  const rolledBack = await rolledBackCopies(rings, newest, imageBlock, rules);
  return rolledBack === 0 ? chosen : chooseRoot(rings, { ...policy, rolledBack });
}

/**
 * Copies that failed under the process before us are left behind, as that was about to do (I2): the system tells once only that a
 * flush failed, and then calls lost pages clean. Throws CopiesError when all others in sync are missing, FsError EIO when there are none.
 */
function withoutFailed(
  chosen: ChosenRoot,
  { copies }: CopySet,
  options: OpenOptions,
): { readonly chosen: ChosenRoot; readonly failed: readonly Copy[] } {
  const mask = knowsNewest(options) ? (options.journal?.failedCopies ?? 0) : 0;
  const failed = copies.filter((copy) => copy.standing === "in-sync" && (mask & copy.bit) !== 0);
  if (failed.length === 0) return { chosen, failed };
  if (copies.every((copy) => copy.standing !== "in-sync" || failed.includes(copy))) {
    const names = failed.map(({ name }) => name).join(", ");
    if ((rootInSync(new DataView(chosen.image.buffer, chosen.image.byteOffset)) & ~mask) !== 0) {
      const detail = "every copy in sync that is here failed a write or flush; give the others, and mount again";
      throw new CopiesError("missing-copy", names, detail);
    }
    throw new FsError(
      "EIO",
      `${names}: every copy in sync failed a write or flush; unmount, see to them, and mount again`,
    );
  }
  for (const copy of failed) {
    copy.standing = isFar(copy) ? "unknown" : "stale";
    copy.reason = "failed before the worker died";
  }
  return { chosen: { ...chosen, lost: failed.reduce((lost, copy) => lost | copy.bit, chosen.lost) }, failed };
}

/** What a server had before a flush that failed may be gone with it (I6). */
export const isFar = ({ device }: Copy): boolean => device.distanceMs !== undefined;

/**
 * Why the volume can't be written to: fewer copies are complete than it asks for, or so few that those left over could go on by another
 * root, which the process before us issued and copies that are not here may have; and nobody said that this will do.
 */
function tooFewCopies(root: DataView, { lost }: ChosenRoot, options: OpenOptions): string | undefined {
  if (goesOnWithFewer(options)) return undefined;
  const here = rootInSync(root) & ~lost;
  const isTooFew = ({ inSync, minCopies }: RootTerms): boolean => bitCount(here & inSync) < minCopies;
  const own = rootTerms(root);
  const issued = knowsNewest(options) ? (options.journal?.terms ?? []) : [];
  // One that only joins by a root which nobody has may be all that is left over: without it there are as many as before.
  const refused = isTooFew(own) ? own : issued.find((terms) => mayGoOnAlone(terms, ~here));
  if (refused === undefined) return undefined;
  const { inSync, minCopies } = refused;
  const left = bitCount(here & inSync);
  return `${left} of the ${minCopies} copies needed are complete; give more of them, or mount with -o degraded to write nevertheless`;
}
