// Goes over the whole live tree in bounded steps, beside requests that change it: for revalidation, scrub, and the clearing
// behind a copy that leaves. A ref comes before what is below it, in key order. Where a step ends is a place: for each tree
// on the way down, which of its block's trees it is and the key and level reached; what changed meanwhile does not matter
// to it. What is new behind the place was written while the sweep went on, and needs no visit.
// Invariant I12: a block that no copy can give is passed by and counted, with all below it.

import { FsError } from "../base/errno.ts";
import { BLOCKREF_BYTES, REF_CHECK_OFFSET, refIsBare, refKey, refLevel, RefType, refType } from "../format/blockref.ts";
import { CHECK_BYTES_MAX } from "../format/check.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { type Block, ROOT_IMAGE } from "../tree/block.ts";
import { ROOT_PFS_ID } from "../format/pfs.ts";
import { holdsRefs, type RefRun, refRuns } from "../tree/runs.ts";
import type { BlockStore } from "../tree/store.ts";
import { cacheKeyOf } from "../tree/loader.ts";
import { LiveNode } from "./live.ts";

interface Step {
  /** Number of the tree among those that the block above holds. */
  readonly run: number;
  readonly key: number;
  readonly level: number;
}

/** Where a sweep goes on; empty at its beginning. */
export type Place = readonly Step[];

/** The place of an inode, for a cursor on media. */
export function inodePlace(ino: number): Place {
  if (ino === 0) return [];
  const item = { run: 0, level: 0 };
  return [
    { ...item, key: ROOT_PFS_ID },
    { ...item, key: ino },
  ];
}

/** The inode a place is at or below; 0 when that is none. */
export function placeInode(place: Place): number {
  const [pfs, inode] = place;
  return pfs?.run === 0 && pfs.key === ROOT_PFS_ID && inode?.run === 0 && inode.level === 0 ? inode.key : 0;
}

/** What a ref whose block is not looked at takes of a budget that is counted in bytes. */
export const PASSED_BYTES = 1024;

/** Told of every ref with a block; answers how much of the step's budget that took. */
export type Visit = (node: LiveNode, at: number) => number;

/** The trees whose roots lie in `block`, each by itself. */
function treesIn(block: Block): readonly RefRun[] {
  if (block.type !== ROOT_IMAGE) return refRuns(block);
  const [superRoot, freemaps] = refRuns(block) as [RefRun, RefRun];
  const each = Array.from({ length: COPIES_MAX }, (_, copy) => ({ at: freemaps.at + copy * BLOCKREF_BYTES, refs: 1 }));
  return [superRoot, ...each];
}

export class Sweep {
  /** Blocks that no copy could give. */
  lost = 0;
  readonly #store: BlockStore;
  readonly #rootImage: Block;
  /** Their refs, each by all that tells what it names. */
  readonly #lostRefs = new Set<string>();
  #visit: Visit = () => 0;
  #budget = 0;
  #from: Place = [];
  #path: Step[] = [];
  #stopped: Place | undefined;

  constructor(store: BlockStore, rootImage: Block) {
    this.#store = store;
    this.#rootImage = rootImage;
  }

  /** The inode that the ref being visited lies below; 0 when that is none. */
  get inode(): number {
    return placeInode(this.#path);
  }

  /** One step from `from` on. Returns where the next one begins, undefined at the end. May throw MISS, to be run again. */
  step(from: Place, budget: number, visit: Visit): Place | undefined {
    this.#visit = visit;
    this.#budget = budget;
    this.#from = from;
    this.#path = [];
    this.#stopped = undefined;
    this.#trees(new LiveNode(this.#store, this.#rootImage), true);
    return this.#stopped;
  }

  /** All trees in the block of `node`; `resumed` while the place to begin at is at or below it. */
  #trees(node: LiveNode, resumed: boolean): void {
    const start = resumed ? this.#from[this.#path.length] : undefined;
    for (const [run, { at, refs }] of treesIn(node.block).entries()) {
      if (start !== undefined && run < start.run) continue;
      this.#run(node, run, at, refs, start?.run === run ? start : undefined);
      if (this.#stopped !== undefined) return;
    }
  }

  /** A run of refs of one tree, from `start` on. */
  #run(node: LiveNode, run: number, at: number, refs: number, start: Step | undefined): void {
    this.#prefetch(node.block, at, refs, start);
    const end = at + refs * BLOCKREF_BYTES;
    for (let ref = at; ref < end; ref += BLOCKREF_BYTES) {
      if (refType(node.block.view, ref) === RefType.EMPTY) return;
      if (refIsBare(node.block.view, ref) || isBefore(node.block.view, ref, end, start)) continue;
      this.#ref(node, run, ref, start);
      if (this.#stopped !== undefined) return;
    }
  }

  #ref(node: LiveNode, run: number, at: number, start: Step | undefined): void {
    const { view } = node.block;
    const key = refKey(view, at);
    const level = refLevel(view, at);
    const onWay = start !== undefined && key <= start.key;
    // Already visited: it leads to the place, or is the item that the place lies below.
    const deeper = this.#from.length > this.#path.length + 1;
    const passed = onWay && (level > start.level || (level === 0 && key === start.key && deeper));
    if (!passed) {
      if (this.#budget <= 0) {
        this.#stopped = [...this.#path, { run, key, level }];
        return;
      }
      this.#budget -= this.#visit(node, at);
    }
    if (!holdsRefs(refType(view, at))) return;
    const child = this.#child(node, at);
    if (child === undefined) return;
    if (level > 0) {
      this.#run(child, run, 0, child.block.count, onWay ? start : undefined);
      return;
    }
    this.#path.push({ run, key, level });
    this.#trees(child, passed);
    this.#path.pop();
  }

  #child(node: LiveNode, at: number): LiveNode | undefined {
    this.#want(node.block, at);
    return this.#isLost(node.block, at) ? undefined : node.child(at);
  }

  /** Asks for the block named there, unless it is known that nobody can give it. */
  #want(block: Block, at: number): void {
    if (this.#isLost(block, at)) return;
    try {
      this.#store.want(block, at);
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
      this.#lostRefs.add(nameOf(block, at));
      this.lost++;
    }
  }

  #isLost(block: Block, at: number): boolean {
    return this.#lostRefs.size > 0 && this.#lostRefs.has(nameOf(block, at));
  }

  /** Asks for the blocks that will be entered soon all at once, so that they are read together. */
  #prefetch(block: Block, at: number, refs: number, start: Step | undefined): void {
    const end = at + refs * BLOCKREF_BYTES;
    let left = this.#budget;
    for (let ref = at; ref < end && left > 0; ref += BLOCKREF_BYTES) {
      if (refType(block.view, ref) === RefType.EMPTY) return;
      if (!holdsRefs(refType(block.view, ref)) || isBefore(block.view, ref, end, start)) continue;
      this.#want(block, ref);
      left--;
    }
  }
}

/**
 * Place, key and check code: two refs to one place may differ in whether the block there is theirs. Other pointers may be cleared
 * meanwhile.
 */
function nameOf({ bytes, view }: Block, at: number): string {
  const check = bytes.subarray(at + REF_CHECK_OFFSET, at + REF_CHECK_OFFSET + CHECK_BYTES_MAX);
  return `${cacheKeyOf(view, at)} ${refKey(view, at)} ${Buffer.from(check.buffer, check.byteOffset, check.length).toString("latin1")}`;
}

/** True when all at or below the ref lies before `start`. */
function isBefore(view: DataView, at: number, end: number, start: Step | undefined): boolean {
  if (start === undefined) return false;
  if (refLevel(view, at) === 0) return refKey(view, at) < start.key;
  const next = at + BLOCKREF_BYTES;
  return next < end && refType(view, next) !== RefType.EMPTY && refKey(view, next) <= start.key;
}
