// The structural rules of a run of blockrefs: packed from the front, sorted, one level, every field within bounds.
// Pure and bounded. A ref that can't be followed safely is reported and left out of the result (I12).

import {
  BLOCKREF_BYTES,
  EMBEDDED_NAME_BYTES,
  RefFlag,
  REF_CHECK_OFFSET,
  REF_NAME_OFFSET,
  RefType,
  refCheckType,
  refCompression,
  refEntryInode,
  refFlags,
  refKey,
  refLevel,
  refMirrorTid,
  refMissing,
  refModifyTid,
  refNameBytes,
  refEntryType,
  refPointer,
  refSizeBits,
  refType,
} from "../format/blockref.ts";
import { CheckType, isCheckType } from "../format/check.ts";
import { usableRange } from "../format/freemap.ts";
import { COPIES_MAX, LEVEL_MAX } from "../format/geometry.ts";
import { ITEM_TYPE, WalkNode, type WalkTree } from "./tree.ts";

/** Names of the rules a ref or a run can break. */
export type WalkRule =
  | "run-gap"
  | "empty-indirect"
  | "ref-number"
  | "ref-type"
  | "ref-level"
  | "ref-size"
  | "ref-methods"
  | "ref-flags"
  | "ref-missing"
  | "ref-reserved"
  | "ref-tid"
  | "mirror-tid"
  | "key-order"
  | "key-range"
  | "pointer-range"
  | "pointer-null"
  | "pointer-stray"
  | "missing-mask"
  | "block-lost";

/** What every ref of one volume is measured against. */
export interface VolumeBounds {
  /** Sequence of the root the walk began at: no TID is above it. */
  readonly sequence: number;
  /** Size of each copy in KiB, 0 where there is none. */
  readonly copyKib: readonly number[];
  /** Bit per copy that lacks nothing. */
  readonly inSync: number;
  /** Bit per copy that is being detached: what refs say of it is on its way out. */
  readonly leaving?: number;
}

/** Bit per copy of the volume that may be owed something. */
export function owingCopies(bounds: VolumeBounds): number {
  let mask = 0;
  for (let copy = 0; copy < COPIES_MAX; copy++) if ((bounds.copyKib[copy] ?? 0) > 0) mask |= 1 << copy;
  return mask & ~bounds.inSync & ~(bounds.leaving ?? 0);
}

/** `copy` is the copy concerned, or -1 when the fault is in the content all copies share. */
export type RuleReport = (rule: WalkRule, tree: WalkTree, at: number, detail: string, copy: number) => void;

const SIZE_BITS: Readonly<Record<number, readonly [number, number]>> = {
  [RefType.INDIRECT]: [10, 14],
  [RefType.DATA]: [10, 16],
  [RefType.INODE]: [10, 10],
  [RefType.DIRENT]: [10, 10],
  [RefType.FREEMAP]: [12, 12],
  [RefType.PFS]: [11, 11],
  [RefType.XATTR]: [10, 16],
};
const CHECK_LENGTH: Readonly<Record<number, number>> = {
  [CheckType.XXH64]: 8,
  [CheckType.CRC32]: 4,
  [CheckType.SHA256]: 32,
};
const EMBEDDED_OFFSET = BLOCKREF_BYTES - 16;
const POINTERS_OFFSET = REF_CHECK_OFFSET + 32;

function zeroBetween(view: DataView, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (view.getUint8(i) !== 0) return false;
  return true;
}

/** Index of the first empty ref of a run; reports anything that lies behind it. */
function packedCount(view: DataView, at: number, refs: number, tree: WalkTree, report: RuleReport): number {
  let count = 0;
  while (count < refs && refType(view, at + count * BLOCKREF_BYTES) !== RefType.EMPTY) count++;
  if (!zeroBetween(view, at + count * BLOCKREF_BYTES, at + refs * BLOCKREF_BYTES)) {
    report("run-gap", tree, at + count * BLOCKREF_BYTES, `refs after the first empty one (${count}) are not zero`, -1);
  }
  return count;
}

/** True when the size fits the type; a ref of the wrong size can't be read. */
function sizeFits(view: DataView, at: number): boolean {
  const type = refType(view, at);
  const bits = refSizeBits(view, at);
  if (type === RefType.ORPHAN) return bits === 0;
  if (type === RefType.DIRENT && refNameBytes(view, at) <= EMBEDDED_NAME_BYTES) return bits === 0;
  const limits = SIZE_BITS[type];
  return limits !== undefined && bits >= limits[0] && bits <= limits[1];
}

/** Fields that must be zero for this type of ref. */
function unusedAreZero(view: DataView, at: number): boolean {
  const type = refType(view, at);
  const end = at + BLOCKREF_BYTES;
  if (type === RefType.DIRENT) {
    if (!zeroBetween(view, at + EMBEDDED_OFFSET + 8, end)) return false;
  } else {
    if (refNameBytes(view, at) !== 0 || refEntryType(view, at) !== 0) return false;
    if (!zeroBetween(view, at + EMBEDDED_OFFSET + (type === RefType.FREEMAP ? 4 : 0), end)) return false;
  }
  if (refSizeBits(view, at) > 0) {
    const length = CHECK_LENGTH[refCheckType(view, at)] ?? 32;
    return zeroBetween(view, at + REF_CHECK_OFFSET + length, at + POINTERS_OFFSET);
  }
  const nameBytes = type === RefType.DIRENT ? refNameBytes(view, at) : 0;
  return zeroBetween(view, at + REF_NAME_OFFSET + nameBytes, at + EMBEDDED_OFFSET);
}

/** Checks the pointers of a ref with a block; true when at least one can be followed. */
function pointersUsable(tree: WalkTree, view: DataView, at: number, bounds: VolumeBounds, report: RuleReport): boolean {
  const sizeKib = (1 << refSizeBits(view, at)) / 1024;
  let usable = false;
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    const pointer = refPointer(view, at, copy);
    const copyKib = bounds.copyKib[copy] ?? 0;
    if (copyKib === 0) {
      if (pointer !== 0)
        report("pointer-stray", tree, at, `points to KiB ${pointer} of a copy the volume has not`, copy);
      continue;
    }
    if (pointer === 0) {
      const owed = (bounds.inSync & (1 << copy)) === 0 || (refFlags(view, at) & RefFlag.NARROW) !== 0;
      if (!owed) report("pointer-null", tree, at, "names no block on this copy", copy);
    } else if (!pointerInRange(pointer, sizeKib, copyKib)) {
      report(
        "pointer-range",
        tree,
        at,
        `points to KiB ${pointer}, outside the copy or not aligned to ${sizeKib} KiB`,
        copy,
      );
    } else usable = true;
  }
  if (!usable) report("block-lost", tree, at, "no pointer of it can be followed", -1);
  return usable;
}

/** True when a block of `sizeKib` may lie at `pointer` on a copy of `copyKib`. */
export function pointerInRange(pointer: number, sizeKib: number, copyKib: number): boolean {
  const [start, end] = usableRange(copyKib);
  return pointer % sizeKib === 0 && pointer >= start && pointer + sizeKib <= end;
}

function checkTids(tree: WalkTree, view: DataView, at: number, bounds: VolumeBounds, report: RuleReport): void {
  const modify = refModifyTid(view, at);
  const mirror = refMirrorTid(view, at);
  if (modify > mirror) report("ref-tid", tree, at, `modifyTid ${modify} is above mirrorTid ${mirror}`, -1);
  if (mirror > bounds.sequence) {
    report("ref-tid", tree, at, `mirrorTid ${mirror} is above the root's sequence ${bounds.sequence}`, -1);
  }
}

/**
 * Checks one ref. False when it must not be followed. Throws RangeError when a 64-bit field is beyond 2^53-1.
 * `level` is the one the run is bound to.
 */
function followable(
  tree: WalkTree,
  view: DataView,
  at: number,
  level: number,
  bounds: VolumeBounds,
  report: RuleReport,
): boolean {
  const type = refType(view, at);
  const wanted = level > 0 ? RefType.INDIRECT : ITEM_TYPE[tree.kind];
  if (refLevel(view, at) !== level) {
    report("ref-level", tree, at, `level ${refLevel(view, at)} where ${level} belongs`, -1);
    return false;
  }
  if (type !== wanted) {
    report("ref-type", tree, at, `type ${type} where ${wanted} belongs`, -1);
    return false;
  }
  if (!sizeFits(view, at)) {
    report("ref-size", tree, at, `a block of 2^${refSizeBits(view, at)} bytes does not fit type ${type}`, -1);
    return false;
  }
  // Read for its RangeError only: whoever looks at the entry may rely on the number.
  if (type === RefType.DIRENT) refEntryInode(view, at);
  checkTids(tree, view, at, bounds, report);
  if ((refFlags(view, at) & ~RefFlag.NARROW) !== 0)
    report("ref-flags", tree, at, `flags 0x${refFlags(view, at).toString(16)} are set`, -1);
  const needless = refMissing(view, at) & ~owingCopies(bounds) & ~(bounds.leaving ?? 0);
  if (needless !== 0) {
    report("ref-missing", tree, at, `missing mask 0x${needless.toString(16)} for copies that lack nothing`, -1);
  }
  if (!unusedAreZero(view, at)) report("ref-reserved", tree, at, "bytes this type does not use are not zero", -1);
  if (refSizeBits(view, at) === 0) return true;
  if (!isCheckType(refCheckType(view, at)) || refCompression(view, at) !== 0) {
    report(
      "ref-methods",
      tree,
      at,
      `check ${refCheckType(view, at)}, compression ${refCompression(view, at)} are unknown`,
      -1,
    );
    return false;
  }
  return pointersUsable(tree, view, at, bounds, report);
}

/** A run of refs under one holder: an indirect block, or the root of a tree. */
export interface Run {
  readonly tree: WalkTree;
  readonly parent: WalkNode | undefined;
  readonly view: DataView;
  readonly at: number;
  readonly refs: number;
  /** Level all refs must have; -1 = that of the first one (the root of a tree). */
  readonly level: number;
  readonly keyStart: number;
  readonly keyEnd: number;
}

/** The refs of a run that can be followed, in order; everything else is reported. */
export function readRun(run: Run, bounds: VolumeBounds, report: RuleReport): WalkNode[] {
  const { tree, view } = run;
  const count = packedCount(view, run.at, run.refs, tree, report);
  if (run.level >= 0 && count === 0) report("empty-indirect", tree, run.at, "an indirect block holds no refs", -1);
  let level = run.level;
  if (level < 0) level = count === 0 ? 0 : refLevel(view, run.at);
  if (level > LEVEL_MAX) {
    report("ref-level", tree, run.at, `level ${level} is above ${LEVEL_MAX}`, -1);
    return [];
  }
  const nodes: WalkNode[] = [];
  let keyEnd = run.keyEnd;
  // Backwards, so that the upper bound of each ref (its next sibling's key) is known when its node is made.
  for (let i = count - 1; i >= 0; i--) {
    const at = run.at + i * BLOCKREF_BYTES;
    try {
      const key = refKey(view, at);
      if (key < run.keyStart || key >= run.keyEnd) {
        // Nobody would find it there; following it would only blame what lies beside it.
        report("key-range", tree, at, `key ${key} is outside ${run.keyStart}…${run.keyEnd - 1}`, -1);
        continue;
      }
      if (key >= keyEnd) {
        report("key-order", tree, at, `key ${key} does not rise strictly to the next, ${keyEnd}`, -1);
        continue;
      }
      const named: RuleReport = (rule, inTree, ref, detail, copy) =>
        report(rule, inTree, ref, `key ${key}: ${detail}`, copy);
      if (followable(tree, view, at, level, bounds, named)) {
        nodes.push(new WalkNode(tree, run.parent, view, at, keyEnd));
      }
      keyEnd = key;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      report("ref-number", tree, at, error.message, -1);
    }
  }
  return nodes.reverse();
}
