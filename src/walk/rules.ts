// The structural rules of a run of blockrefs: packed from the front, sorted, one level, every field within bounds.
// Pure and bounded. A ref that can't be followed safely is reported and left out of the result (I12).
//
// A mount holds what it reads to src/tree/validate.ts, and refuses a whole block where one of its rules is broken. Only the checker
// tells of ref-missing, ref-reserved (but for the length of a name), mirror-tid, missing-mask, pointer-null, and TIDs above the
// root's. A pointer that leads nowhere on one copy (pointer-range, pointer-stray) costs a mount the block, the checker that copy's.
// What needs more than the ref is not judged here: where data may begin (fsck/check-data.ts), names (fsck/check-entry.ts).

import {
  BLOCKREF,
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
  refPointer,
  refSizeBits,
  refType,
} from "../format/blockref.ts";
import { CheckType, isCheckType } from "../format/check.ts";
import { usableRange } from "../format/freemap.ts";
import { COPIES_MAX, LEVEL_MAX } from "../format/geometry.ts";
import { offsetOf } from "../format/structure.ts";
import { ITEM_TYPE, refsIn, WalkNode, type WalkTree } from "./tree.ts";

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
  | "block-lost"
  | "block-absent";

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

/** `at` is the ref concerned; `copy` the copy concerned, or -1 when the fault is in the content all copies share. */
export type RuleReport = (rule: WalkRule, run: Run, at: number, detail: string, copy: number) => void;

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
/** Length of the name and type of what it names: bytes that only a dirent uses. */
const ENTRY_HEAD = [offsetOf(BLOCKREF, "nameBytes"), offsetOf(BLOCKREF, "key")] as const;
const POINTERS_OFFSET = REF_CHECK_OFFSET + 32;

function zeroBetween(view: DataView, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (view.getUint8(i) !== 0) return false;
  return true;
}

/** Index of the first empty ref of a run; reports anything that lies behind it. */
function packedCount(run: Run, report: RuleReport): number {
  const { view, at, refs } = run;
  let count = 0;
  while (count < refs && refType(view, at + count * BLOCKREF_BYTES) !== RefType.EMPTY) count++;
  if (!zeroBetween(view, at + count * BLOCKREF_BYTES, at + refs * BLOCKREF_BYTES)) {
    report("run-gap", run, at + count * BLOCKREF_BYTES, `refs after the first empty one (${count}) are not zero`, -1);
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

/** Ranges of bytes, relative to the ref, that a ref of this type and size does not use. */
export function unusedRanges(view: DataView, at: number): (readonly [number, number])[] {
  const type = refType(view, at);
  const dirent = type === RefType.DIRENT;
  const ranges: (readonly [number, number])[] = dirent ? [] : [ENTRY_HEAD];
  const embeddedBytes = dirent ? 8 : type === RefType.FREEMAP ? 4 : 0;
  ranges.push([EMBEDDED_OFFSET + embeddedBytes, BLOCKREF_BYTES]);
  if (refSizeBits(view, at) > 0) {
    ranges.push([REF_CHECK_OFFSET + (CHECK_LENGTH[refCheckType(view, at)] ?? 32), POINTERS_OFFSET]);
  } else ranges.push([REF_NAME_OFFSET + (dirent ? refNameBytes(view, at) : 0), EMBEDDED_OFFSET]);
  return ranges;
}

/** Checks the pointers of a ref with a block; true when at least one can be followed. */
function pointersUsable(run: Run, at: number, bounds: VolumeBounds, report: RuleReport): boolean {
  const { view } = run;
  const sizeKib = (1 << refSizeBits(view, at)) / 1024;
  let usable = false;
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    const pointer = refPointer(view, at, copy);
    const copyKib = bounds.copyKib[copy] ?? 0;
    if (copyKib === 0) {
      if (pointer !== 0)
        report("pointer-stray", run, at, `points to KiB ${pointer} of a copy the volume has not`, copy);
      continue;
    }
    if (pointer === 0) {
      const owed = (bounds.inSync & (1 << copy)) === 0 || (refFlags(view, at) & RefFlag.NARROW) !== 0;
      if (!owed) report("pointer-null", run, at, "names no block on this copy", copy);
    } else if (!pointerInRange(pointer, sizeKib, copyKib)) {
      report(
        "pointer-range",
        run,
        at,
        `points to KiB ${pointer}, outside the copy or not aligned to ${sizeKib} KiB`,
        copy,
      );
    } else usable = true;
  }
  if (!usable) report("block-lost", run, at, "no pointer of it can be followed", -1);
  return usable;
}

/** True when a block of `sizeKib` may lie at `pointer` on a copy of `copyKib`. */
export function pointerInRange(pointer: number, sizeKib: number, copyKib: number): boolean {
  const [start, end] = usableRange(copyKib);
  return pointer % sizeKib === 0 && pointer >= start && pointer + sizeKib <= end;
}

function checkTids(run: Run, at: number, bounds: VolumeBounds, report: RuleReport): void {
  const { view } = run;
  const modify = refModifyTid(view, at);
  const mirror = refMirrorTid(view, at);
  if (modify > mirror) report("ref-tid", run, at, `modifyTid ${modify} is above mirrorTid ${mirror}`, -1);
  if (mirror > bounds.sequence) {
    report("ref-tid", run, at, `mirrorTid ${mirror} is above the root's sequence ${bounds.sequence}`, -1);
  }
}

/**
 * Checks the ref at byte `at`. False when it must not be followed. Throws RangeError when a 64-bit field is beyond
 * 2^53-1. `level` is the one the run is bound to.
 */
export function followable(run: Run, at: number, level: number, bounds: VolumeBounds, report: RuleReport): boolean {
  const { view } = run;
  const type = refType(view, at);
  const wanted = level > 0 ? RefType.INDIRECT : ITEM_TYPE[run.tree.kind];
  if (refLevel(view, at) !== level) {
    report("ref-level", run, at, `level ${refLevel(view, at)} where ${level} belongs`, -1);
    return false;
  }
  if (type !== wanted) {
    report("ref-type", run, at, `type ${type} where ${wanted} belongs`, -1);
    return false;
  }
  if (!sizeFits(view, at)) {
    report("ref-size", run, at, `a block of 2^${refSizeBits(view, at)} bytes does not fit type ${type}`, -1);
    return false;
  }
  // Read for its RangeError only: whoever looks at the entry may rely on the number.
  if (type === RefType.DIRENT) refEntryInode(view, at);
  checkTids(run, at, bounds, report);
  const flags = refFlags(view, at);
  if (flags !== 0 && (flags !== RefFlag.NARROW || run.tree.kind !== "data" || level > 0))
    report("ref-flags", run, at, `flags 0x${flags.toString(16)} are set`, -1);
  const needless = refMissing(view, at) & ~owingCopies(bounds) & ~(bounds.leaving ?? 0);
  if (needless !== 0) {
    report("ref-missing", run, at, `missing mask 0x${needless.toString(16)} for copies that lack nothing`, -1);
  }
  if (!unusedRanges(view, at).every(([start, end]) => zeroBetween(view, at + start, at + end)))
    report("ref-reserved", run, at, "bytes this type does not use are not zero", -1);
  if (refSizeBits(view, at) === 0) return true;
  if (!isCheckType(refCheckType(view, at)) || refCompression(view, at) !== 0) {
    report(
      "ref-methods",
      run,
      at,
      `check ${refCheckType(view, at)}, compression ${refCompression(view, at)} are unknown`,
      -1,
    );
    return false;
  }
  return pointersUsable(run, at, bounds, report);
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

/** No key reaches this. */
const KEY_LIMIT = Number.MAX_SAFE_INTEGER + 1;

/** The run at the root of a tree. */
export function rootRun(tree: WalkTree): Run {
  const { holder, view, at, refs } = tree;
  return { tree, parent: holder, view, at, refs, level: -1, keyStart: 0, keyEnd: KEY_LIMIT };
}

/** The run that is the indirect block of `node`. */
export function runIn(node: WalkNode, block: DataView): Run {
  const { tree, level, key, keyEnd } = node;
  const run = { tree, parent: node, view: block, at: 0, refs: refsIn(node.sizeBytes) };
  return { ...run, level: level - 1, keyStart: key, keyEnd };
}

/** The refs of a run that can be followed, in order; everything else is reported. */
export function readRun(run: Run, bounds: VolumeBounds, report: RuleReport): WalkNode[] {
  const { tree, view } = run;
  const count = packedCount(run, report);
  if (run.level >= 0 && count === 0) report("empty-indirect", run, run.at, "an indirect block holds no refs", -1);
  let level = run.level;
  if (level < 0) level = count === 0 ? 0 : refLevel(view, run.at);
  if (level > LEVEL_MAX) {
    report("ref-level", run, run.at, `level ${level} is above ${LEVEL_MAX}`, -1);
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
        report("key-range", run, at, `key ${key} is outside ${run.keyStart}…${run.keyEnd - 1}`, -1);
        continue;
      }
      if (key >= keyEnd) {
        report("key-order", run, at, `key ${key} does not rise strictly to the next, ${keyEnd}`, -1);
        continue;
      }
      const named: RuleReport = (rule, inRun, ref, detail, copy) =>
        report(rule, inRun, ref, `key ${key}: ${detail}`, copy);
      if (followable(run, at, level, bounds, named)) {
        nodes.push(new WalkNode(tree, run.parent, view, at, keyEnd));
      }
      keyEnd = key;
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      report("ref-number", run, at, error.message, -1);
    }
  }
  return nodes.reverse();
}
