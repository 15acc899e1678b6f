// What is left of a run of blockrefs when it is made to keep the rules: refs that can't be followed go, numbers that
// don't matter for finding the block are put right, pointers to places that can't be are forgotten, and all is packed
// and sorted. What a dropped ref named is lost to its file or directory; its space comes back with the freemap.

import {
  BLOCKREF_BYTES,
  RefFlag,
  RefType,
  refFlags,
  refKey,
  refLevel,
  refMirrorTid,
  refMissing,
  refModifyTid,
  refPointer,
  refSizeBytes,
  refType,
  setRefFlags,
  setRefMirrorTid,
  setRefMissing,
  setRefModifyTid,
  setRefPointer,
} from "../src/format/blockref.ts";
import { COPIES_MAX, KIB, LEVEL_MAX } from "../src/format/geometry.ts";
import {
  followable,
  owingCopies,
  pointerInRange,
  type Run,
  unusedRanges,
  type VolumeBounds,
} from "../src/walk/rules.ts";
import { ITEM_TYPE } from "../src/walk/tree.ts";
import { dataFits } from "./check-data.ts";
import { readable } from "./fix-fields.ts";

const ignore = (): void => undefined;

/** The refs of `run` that can be kept, one after another; the run's own bytes are changed on the way. */
export function mendedRefs(run: Run, bounds: VolumeBounds): Uint8Array {
  const { view } = run;
  const all = Array.from({ length: run.refs }, (_, i) => run.at + i * BLOCKREF_BYTES);
  const level = run.level >= 0 ? run.level : levelOf(run, all);
  const kept = new Map<number, number>();
  for (const at of all) {
    const key = keptKey(run, at, level, bounds);
    if (key !== undefined && !kept.has(key)) kept.set(key, at);
  }
  const refs = new Uint8Array(kept.size * BLOCKREF_BYTES);
  [...kept.keys()]
    .sort((a, b) => a - b)
    .forEach((key, i) => {
      const from = view.byteOffset + (kept.get(key) as number);
      refs.set(new Uint8Array(view.buffer, from, BLOCKREF_BYTES), i * BLOCKREF_BYTES);
    });
  return refs;
}

/** The level of a tree's root run: that of the first ref that can be one of this tree. */
function levelOf({ tree, view }: Run, all: readonly number[]): number {
  for (const at of all) {
    const level = refLevel(view, at);
    if (level <= LEVEL_MAX && refType(view, at) === (level > 0 ? RefType.INDIRECT : ITEM_TYPE[tree.kind])) return level;
  }
  return 0;
}

/** Puts right what can be in the ref at byte `at`; its key, or undefined when it can't be kept. */
function keptKey(run: Run, at: number, level: number, bounds: VolumeBounds): number | undefined {
  const { view } = run;
  if (refType(view, at) === RefType.EMPTY) return undefined;
  try {
    const key = refKey(view, at);
    if (key < run.keyStart || key >= run.keyEnd) return undefined;
    fixNumbers(view, at, bounds);
    for (const [start, end] of unusedRanges(view, at)) zero(view, at + start, at + end);
    if (refSizeBytes(view, at) > 0) forgetWrongPointers(view, at, bounds);
    if (!followable(run, at, level, bounds, ignore)) return undefined;
    return refType(view, at) === RefType.DATA && !dataFits(key, refSizeBytes(view, at)) ? undefined : key;
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

/** Flags, masks and transaction ids. */
function fixNumbers(view: DataView, at: number, bounds: VolumeBounds): void {
  const { sequence } = bounds;
  const atMost = (read: () => number): number => (readable(read) ? Math.min(read(), sequence) : sequence);
  const modify = atMost(() => refModifyTid(view, at));
  setRefModifyTid(view, at, modify);
  setRefMirrorTid(
    view,
    at,
    Math.max(
      modify,
      atMost(() => refMirrorTid(view, at)),
    ),
  );
  const narrow = refType(view, at) === RefType.DATA ? refFlags(view, at) & RefFlag.NARROW : 0;
  setRefFlags(view, at, narrow);
  setRefMissing(view, at, narrow === 0 ? 0 : refMissing(view, at) & owingCopies(bounds));
}

function forgetWrongPointers(view: DataView, at: number, { copyKib }: VolumeBounds): void {
  const sizeKib = refSizeBytes(view, at) / KIB;
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    const kib = copyKib[copy] ?? 0;
    if (kib === 0 || !pointerInRange(refPointer(view, at, copy), sizeKib, kib)) setRefPointer(view, at, copy, 0);
  }
}

function zero(view: DataView, start: number, end: number): void {
  new Uint8Array(view.buffer, view.byteOffset + start, end - start).fill(0);
}
