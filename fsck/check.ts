// The checker: reads a volume from its root rings down, on every copy, and says everything that is wrong with it.
// It changes nothing, and never fails on what it reads (I12). Tests call it after every simulated power cut.

import { bitCount } from "../src/base/bits.ts";
import { equalBytes } from "../src/base/uuid.ts";
import { COPIES_MAX } from "../src/format/geometry.ts";
import { MemberFlag } from "../src/format/last-seen.ts";
import { rootCopyCount, rootCounters, rootInSync } from "../src/format/root-block.ts";
import { rootLastSeen, rootMembers } from "../src/format/root-members.ts";
import { ROOT_INO } from "../src/format/pfs.ts";
import { memberSizes } from "../src/volume/root-image.ts";
import type { BlockClaims } from "../src/walk/claims.ts";
import type { BlockReader } from "../src/walk/read-batch.ts";
import type { VolumeBounds } from "../src/walk/rules.ts";
import { freemapTrees, superRootTree } from "../src/walk/tree.ts";
import { Verifier, type VerifyConsumer } from "../src/walk/verify.ts";
import { checkFreemap } from "./check-freemap.ts";
import { checkLinks } from "./check-links.ts";
import { checkLog } from "./check-log.ts";
import { Content } from "./content.ts";
import { type Finding, FindingList } from "./finding-list.ts";
import type { CopySet } from "../src/copies/copy-set.ts";
import { membersWith, stayingMembers } from "../src/copies/membership.ts";
import { keptRoots } from "../src/copies/choose-root.ts";
import type { RingRoot } from "../src/copies/ring.ts";
import { type IsContested, RepairingReader } from "./repairing-reader.ts";
import { checkRings, copyName } from "./root-ring.ts";

export type CheckPhase = "rings" | "blocks" | "directories" | "freemap" | "links";

/** What a check of the newest root saw. */
export interface Checked {
  readonly content: Content;
  readonly bounds: VolumeBounds;
  /** What was reached on each copy without the freemaps' own blocks, and with them. */
  readonly filesOnly: readonly (BlockClaims | undefined)[];
  readonly claims: readonly (BlockClaims | undefined)[];
  /** Bit per member of the volume that was not asked: not here, unknown, or on its way out. */
  readonly unasked: number;
}

export interface CheckOptions {
  /** Also check every older root that is still in a ring: by I3 they stay complete. */
  readonly everyRoot?: boolean;
  /** Whether the trees below a root are to be checked; all are unless given. For whoever knows them to be sound. */
  readonly wants?: (root: RingRoot) => boolean;
  /** Has bad blocks written anew while they are met, unless their place is contested; the copies are flushed in the end. */
  readonly repairUnless?: IsContested;
  /** Lost blocks that nothing else would ever remove get a repair: they are given up. */
  readonly abandon?: boolean;
  /** How often the power failed since all was well: roots torn in writing are no damage. */
  readonly powerCuts?: number;
  /** Called with each phase, and with bytes read since the last call. */
  readonly onProgress?: (phase: CheckPhase, bytes: number) => void;
  readonly signal?: AbortSignal;
}

/** Everything that is wrong with the volume on these copies; empty, or notes only, when it is sound. */
export async function checkVolume(copies: CopySet, options: CheckOptions = {}): Promise<readonly Finding[]> {
  const list = new FindingList();
  await checkInto(copies, list, options);
  return list.close();
}

/**
 * Everything that is wrong with the trees below `root`, one of those that a check of the volume met; what it says is a function of what it
 * reads.
 */
export async function checkRootTrees(copies: CopySet, root: RingRoot): Promise<readonly Finding[]> {
  const list = new FindingList();
  await checkTrees(copies, root, list, {});
  return list.close();
}

/** As checkVolume, and gives what was reached: for whoever repairs. */
export async function checkInto(
  copies: CopySet,
  list: FindingList,
  options: CheckOptions,
): Promise<Checked | undefined> {
  options.onProgress?.("rings", 0);
  const checked = await checkFromRings(copies, list, options);
  reportFailed(copies, list);
  return checked;
}

async function checkFromRings(copies: CopySet, list: FindingList, options: CheckOptions): Promise<Checked | undefined> {
  const { rings, newest } = await checkRings(copies, list, options.powerCuts ?? 0);
  if (newest === undefined) {
    list.add("root-content", "no copy has a valid root: the volume can't be read");
    return undefined;
  }
  checkRoot(copies, newest, list);
  await checkLog(copies, newest, list);
  const { wants = () => true } = options;
  const checked = wants(newest) ? await checkTrees(copies, newest, list, options) : undefined;
  if (options.everyRoot) {
    const seen = new Set<number>();
    for (const ring of rings) {
      for (const root of keptRoots(ring, newest)) {
        if (seen.has(root.sequence)) continue;
        seen.add(root.sequence);
        if (wants(root)) await checkOlderRoot(copies, root, list, options);
      }
    }
  }
  return checked;
}

/**
 * A quick look that suffices for a volume at rest: rings and their roots, the log, the PFS block, orphan marks and bitmaps on every
 * copy, and whether more damage was met in use than was repaired.
 */
export async function checkLightly(copies: CopySet, list: FindingList): Promise<void> {
  await checkLightlyFromRings(copies, list);
  reportFailed(copies, list);
}

/** A copy that was given up because it did not answer (I9), or refused a repair, is as good as not checked. */
function reportFailed(copies: CopySet, list: FindingList): void {
  for (const copy of copies.copies) {
    if (copy.failure === undefined) continue;
    const message = `${copyName(copy)}: was not checked to its end: ${copy.failure.message}`;
    list.add("copy-failed", message, { copy: copy.index });
  }
}

async function checkLightlyFromRings(copies: CopySet, list: FindingList): Promise<void> {
  const { newest } = await checkRings(copies, list, 0);
  if (newest === undefined) {
    list.add("root-content", "no copy has a valid root: the volume can't be read");
    return;
  }
  checkRoot(copies, newest, list);
  await checkLog(copies, newest, list);
  for (const copy of copies.copies) {
    const { read, checksum, repaired } = rootCounters(newest.view, copy.index);
    if (read + checksum <= repaired) continue;
    list.add("errors-counted", `${copyName(copy)}: ${read + checksum} bad reads in use, ${repaired} repaired`, {
      copy: copy.index,
    });
  }
  const { view, sequence } = newest;
  const content = new Content(list, sequence);
  const shallow: VerifyConsumer = {
    fault: (fault) => content.fault(fault),
    repeated: (node) => content.repeated(node),
    enter: (tree) => tree.kind === "orphans" || tree.kind === "freemap",
    // Of bitmaps only whether they can be read: without them a mount can't write.
    item: (node, block) => node.tree.kind === "freemap" || content.item(node, block),
  };
  const trees = [superRootTree(view), ...freemapTrees(view)];
  await new Verifier(trusted(copies, newest), boundsOf(newest), shallow).walk(trees);
  for (const ino of content.marks) list.add("orphan-pending", `inode ${ino}: marked as an orphan`, { ino });
}

/** An older root is checked like the newest, but nothing is repaired in it: the ring moves on. */
async function checkOlderRoot(
  copies: CopySet,
  root: RingRoot,
  list: FindingList,
  options: CheckOptions,
): Promise<void> {
  const older = new FindingList();
  await checkTrees(copies, root, older, options);
  for (const { name, severity, message, copy } of older.findings) {
    if (severity === "note") continue;
    list.add(name, `root ${root.sequence}: ${message}`, copy === undefined ? {} : { copy });
  }
}

/** What the newest root says of the copies, against the copies at hand. */
function checkRoot(copies: CopySet, root: RingRoot, list: FindingList): void {
  const { view } = root;
  let known = 0;
  for (let index = 0; index < COPIES_MAX; index++) {
    const seen = rootLastSeen(view, index);
    if (seen === undefined) continue;
    known |= 1 << index;
    const copy = copies.copies.find((candidate) => candidate.index === index);
    const inSync = (rootInSync(view) & (1 << index)) !== 0;
    if (copy === undefined) {
      const message = `copy ${index} is not here; it was last seen at ${seen.target || "an unknown place"}`;
      list.add("copy-absent", message, { copy: index, ...(inSync ? {} : { severity: "note" }) });
      continue;
    }
    if (!inSync)
      list.add("copy-behind", `${copyName(copy)}: is not in sync; a resync will bring it the rest`, { copy: index });
    const wrong = (detail: string): void => list.add("root-content", `${copyName(copy)}: ${detail}`, { copy: index });
    if (!equalBytes(seen.copyUuid, copy.uuid)) wrong("the newest root knows this copy by another UUID");
    if (seen.sizeKib !== copy.sizeKib) wrong(`is ${copy.sizeKib} KiB long, the newest root says ${seen.sizeKib}`);
  }
  if ((rootInSync(view) & ~known) !== 0) {
    list.add(
      "root-content",
      `root ${root.sequence}: in-sync mask ${rootInSync(view)}, the volume's copies are ${known}`,
    );
  }
  if (rootCopyCount(view) !== bitCount(stayingMembers(view))) {
    list.add(
      "root-content",
      `root ${root.sequence}: counts ${rootCopyCount(view)} copies, it names ${bitCount(stayingMembers(view))}`,
      { repair: { kind: "count" } },
    );
  }
}

/**
 * The copies whose pointers are promises in `root`: what an unknown one holds says nothing about the volume, and nothing is
 * kept on one that leaves. One that does not answer is left after a deadline, if there is another (I9).
 */
function trusted(copies: CopySet, { view }: RingRoot): BlockReader {
  const strange = membersWith(view, MemberFlag.UNTRUSTED | MemberFlag.LEAVING);
  const kept = copies.copies.filter(
    ({ active, failure, untrusted, bit }) => (active || failure !== undefined) && !untrusted && (bit & strange) === 0,
  );
  return {
    get mask() {
      return kept.reduce((bits, { failure, bit }) => (failure === undefined ? bits | bit : bits), 0);
    },
    get left() {
      return kept.reduce((bits, { failure, bit }) => (failure === undefined ? bits : bits | bit), 0);
    },
    readBlocks: (requests) => copies.whenRead(copies.readBlocks(requests)),
  };
}

/** Sizes of all copies the root knows, present or not. */
function boundsOf(root: RingRoot): VolumeBounds {
  const leaving = membersWith(root.view, MemberFlag.LEAVING);
  return { sequence: root.sequence, copyKib: memberSizes(root.view), inSync: rootInSync(root.view), leaving };
}

async function checkTrees(copies: CopySet, root: RingRoot, list: FindingList, options: CheckOptions): Promise<Checked> {
  const { view, sequence } = root;
  const bounds = boundsOf(root);
  let phase: CheckPhase = "blocks";
  const begin = (next: CheckPhase): void => {
    phase = next;
    options.onProgress?.(next, 0);
  };
  const content = new Content(list, sequence, options.abandon, (bytes) => options.onProgress?.(phase, bytes));
  const reader = trusted(copies, root);
  const { repairUnless } = options;
  const mending = repairUnless === undefined ? reader : new RepairingReader(copies, reader, repairUnless);
  const verifier = new Verifier(mending, bounds, content, options.signal);
  begin("blocks");
  await verifier.walk([superRootTree(view)]);
  begin("directories");
  await verifier.walk(content.beginDirectories());
  const filesOnly = verifier.claims.map((claims) => claims?.clone());
  begin("freemap");
  await verifier.walk(freemapTrees(view));
  // Without its top nothing of a tree is reached: that is no proof that its space is free.
  if (content.inodes.get(ROOT_INO)?.isDirectory !== true) {
    content.gap = true;
    // Unless all that was not seen of the inodes is given up.
    if (!content.inodeGap) content.openGap = true;
  }
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    const leaves = content.leaves[copy] as Content["leaves"][number];
    const claims = verifier.claims[copy];
    if (claims === undefined && leaves.size > 0)
      list.add("freemap-range", `freemap of copy ${copy}: there is no such copy`, { copy });
    // What a lost leaf marked is unknown: there is nothing to compare.
    if (claims === undefined || content.freemapGaps.has(copy)) continue;
    checkFreemap({ copy, copyKib: bounds.copyKib[copy] as number, leaves, claims, gap: content.gap }, list);
  }
  if (repairUnless !== undefined) await copies.flush();
  begin("links");
  checkLinks(content, list);
  return { content, bounds, filesOnly, claims: verifier.claims, unasked: rootMembers(view) & ~reader.mask };
}
