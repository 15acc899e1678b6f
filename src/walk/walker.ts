// Walks the trees of a root that does not change meanwhile, for a check (verify.ts) or to learn what they have in use
// (places-in-use.ts); the live tree has sweep.ts, and owed.ts for what a copy lacks. It starts from the roots given, goes depth
// first in key order, and reads blocks in batches, so that adjacent blocks come in one device call and memory stays bounded: two
// batches, plus the refs still to be met on the way down. While blocks of data are looked at, which have nothing below them, the
// next batch is read. The visitor decides what is read and entered.
// Levels fall strictly inside a tree and trees nest to a fixed depth (I12); a visitor that claims blocks bounds the time.

import { BLOCKREF_BYTES, refMirrorTid, refModifyTid, refOwed, refType, RefType } from "../format/blockref.ts";
import { KIB } from "../format/geometry.ts";
import { type Arrival, type BatchSource, type BlockReader, ReadBatch, Targets } from "./read-batch.ts";
import {
  owingCopies,
  pointerInRange,
  readRun,
  rootRun,
  type RuleReport,
  type Run,
  runIn,
  type VolumeBounds,
} from "./rules.ts";
import { refsIn, subtrees, type WalkNode, type WalkTree } from "./tree.ts";

export interface WalkVisitor {
  /** A structural rule is broken. */
  readonly fault: RuleReport;
  /** The mirrorTid of a ref is not that of what is below it. */
  misstamped(node: WalkNode, rule: "mirror-tid" | "missing-mask", detail: string): void;
  /** A ref is met, in key order within its tree. False: its block is neither read nor entered. */
  meet(node: WalkNode): boolean;
  /**
   * Its block is here (or the ref has none), in the order of `meet`. False: nothing below it is entered. A block of data is not
   * to be kept.
   */
  arrive(node: WalkNode, arrival: Arrival): boolean;
  /** A tree below an item is about to be entered. False: not now; the visitor may walk it later. */
  enter(tree: WalkTree): boolean;
}

export interface WalkOptions {
  /** Read and verify every copy's block, not only one that serves. Nothing is repaired then. */
  readonly everyCopy: boolean;
  readonly batchBlocks?: number;
  readonly batchBytes?: number;
  readonly signal?: AbortSignal;
}

/** A block of data: there is nothing below it, and nobody keeps it. */
function isLeaf({ tree, type }: WalkNode): boolean {
  return tree.kind === "data" && type === RefType.DATA;
}

export class Walker {
  readonly #source: BatchSource;
  readonly #bounds: VolumeBounds;
  readonly #visitor: WalkVisitor;
  readonly #options: WalkOptions;
  /** Refs still to be met, the next one last. */
  readonly #pending: WalkNode[] = [];

  constructor(reader: BlockReader, bounds: VolumeBounds, visitor: WalkVisitor, options: WalkOptions) {
    this.#source = {
      ...{ reader, everyCopy: options.everyCopy, targets: new Targets() },
      inRange: (node, copy, kib) => pointerInRange(kib, node.sizeBytes / KIB, bounds.copyKib[copy] ?? 0),
    };
    this.#bounds = bounds;
    this.#visitor = visitor;
    this.#options = options;
  }

  /** Walks the trees given, one after another. Rejects with the signal's reason when aborted. */
  async walk(trees: readonly WalkTree[]): Promise<void> {
    for (const tree of trees) {
      this.#pushTree(tree);
      let ahead: ReadBatch | undefined;
      try {
        while (ahead !== undefined || this.#pending.length > 0) {
          this.#options.signal?.throwIfAborted();
          const batch: ReadBatch = ahead ?? this.#begin();
          ahead = batch.nodes.every(isLeaf) && this.#pending.length > 0 ? this.#begin() : undefined;
          await batch.done;
          this.#arrive(batch);
        }
      } finally {
        await ahead?.done;
      }
    }
  }

  #pushTree(tree: WalkTree): number {
    return this.#push(rootRun(tree));
  }

  /** Queues the refs of a run; returns the greatest mirrorTid in it, NaN when one is out of bounds. */
  #push(run: Run): number {
    const nodes = readRun(run, this.#bounds, this.#visitor.fault);
    for (let i = nodes.length - 1; i >= 0; i--) this.#pending.push(nodes[i] as WalkNode);
    return greatestMirrorTid(run.view, run.at, run.refs);
  }

  /** Meets the refs that are next and begins to read their blocks. */
  #begin(): ReadBatch {
    const batch: WalkNode[] = [];
    const limit = this.#options.batchBlocks ?? 256;
    let budget = this.#options.batchBytes ?? 4 << 20;
    while (batch.length < limit && budget > 0) {
      const node = this.#pending.pop();
      if (node === undefined) break;
      if (!this.#visitor.meet(node)) continue;
      batch.push(node);
      budget -= node.sizeBytes;
    }
    return new ReadBatch(batch, this.#source);
  }

  #arrive(batch: ReadBatch): void {
    // Children are met in key order: they go on the stack from the last block of the batch to the first.
    const below: WalkNode[][] = [];
    for (const [i, node] of batch.nodes.entries()) {
      const arrival = batch.arrival(i);
      const mark = this.#pending.length;
      if (this.#visitor.arrive(node, arrival) && arrival.block !== undefined) this.#expand(node, arrival.block);
      if (isLeaf(node)) batch.giveBack(i);
      below.push(this.#pending.splice(mark));
    }
    for (let i = below.length - 1; i >= 0; i--) for (const node of below[i] as WalkNode[]) this.#pending.push(node);
  }

  /** What is owed below a block must show in its own ref, or a pruned walk would pass it by (I8). */
  #checkMissing(node: WalkNode, block: DataView, owing: number): void {
    const hidden = owedBelow(node, block, owing) & ~refOwed(node.view, node.at, owing);
    if (hidden === 0) return;
    const detail = `copies 0x${hidden.toString(16)} lack something below that its missing mask does not say`;
    this.#visitor.misstamped(node, "missing-mask", detail);
  }

  #expand(node: WalkNode, block: DataView): void {
    const owing = owingCopies(this.#bounds);
    if (owing !== 0) this.#checkMissing(node, block, owing);
    let newest = refModifyTid(node.view, node.at);
    if (node.type === RefType.INDIRECT) {
      newest = Math.max(newest, this.#push(runIn(node, block)));
    } else {
      // Pushed backwards, because the last one pushed is met first.
      for (const tree of subtrees(node, block).reverse()) {
        if (this.#visitor.enter(tree)) newest = Math.max(newest, this.#pushTree(tree));
        else newest = Math.max(newest, greatestMirrorTid(tree.view, tree.at, tree.refs));
      }
    }
    const mirror = refMirrorTid(node.view, node.at);
    if (mirror !== newest && !Number.isNaN(newest)) {
      this.#visitor.misstamped(node, "mirror-tid", `mirrorTid is ${mirror}, the newest below is ${newest}`);
    }
  }
}

/** Bit per copy of `owing` that is owed something in the runs below a block. */
function owedBelow(node: WalkNode, block: DataView, owing: number): number {
  const runs = node.type === RefType.INDIRECT ? [{ at: 0, refs: refsIn(node.sizeBytes) }] : subtrees(node, block);
  let owed = 0;
  for (const { at, refs } of runs) {
    for (let i = 0; i < refs; i++) {
      const ref = at + i * BLOCKREF_BYTES;
      if (refType(block, ref) !== RefType.EMPTY) owed |= refOwed(block, ref, owing);
    }
  }
  return owed;
}

function greatestMirrorTid(view: DataView, at: number, refs: number): number {
  let newest = 0;
  for (let i = 0; i < refs; i++) {
    try {
      newest = Math.max(newest, refMirrorTid(view, at + i * BLOCKREF_BYTES));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return NaN;
    }
  }
  return newest;
}
