// The visitor that proves a volume: every block reachable from a root is read on every copy, claimed once per copy,
// and handed, when it is good, to whoever looks at its content (fsck). It changes nothing.

import { refPointer } from "../format/blockref.ts";
import { COPIES_MAX, KIB } from "../format/geometry.ts";
import { isNarrow } from "../tree/narrow.ts";
import { BlockClaims } from "./claims.ts";
import type { Arrival, BlockReader } from "./read-batch.ts";
import { pointerInRange, type Run, type VolumeBounds, type WalkRule } from "./rules.ts";
import type { WalkNode, WalkTree } from "./tree.ts";
import { Walker, type WalkVisitor } from "./walker.ts";

/** What is wrong with a block or a ref. */
export type VerifyRule = WalkRule | "block-shared" | "block-bad" | "block-unseen";

export interface Fault {
  readonly rule: VerifyRule;
  readonly tree: WalkTree;
  /** The ref concerned, unless the fault is in how refs lie in a run. */
  readonly node: WalkNode | undefined;
  /** Where it was found by the rules of a run: the run, and the byte of a ref in it. */
  readonly found: { readonly run: Run; readonly at: number } | undefined;
  /** The copy concerned, -1 when all are. */
  readonly copy: number;
  readonly detail: string;
}

/** Who looks at the content of what is verified. */
export interface VerifyConsumer {
  fault(fault: Fault): void;
  /** A ref whose block is good on some copy, or that has none. `block` is that block. False: leave what is below. */
  item(node: WalkNode, block: DataView | undefined): boolean;
  /** A block was met before, on every copy: neither it nor what is below it is visited again. */
  repeated(node: WalkNode): void;
  /** False: the tree is left out for now; walk it later with `walk`. */
  enter(tree: WalkTree): boolean;
  /** Blocks were verified: for a progress display. */
  progress?(blocks: number, bytes: number): void;
}

export class Verifier implements WalkVisitor {
  /** What was reached, by copy index. */
  readonly claims: readonly (BlockClaims | undefined)[];
  readonly #reader: BlockReader;
  readonly #bounds: VolumeBounds;
  readonly #consumer: VerifyConsumer;
  readonly #signal: AbortSignal | undefined;

  constructor(reader: BlockReader, bounds: VolumeBounds, consumer: VerifyConsumer, signal?: AbortSignal) {
    this.claims = Array.from({ length: COPIES_MAX }, (_, copy) =>
      (bounds.copyKib[copy] ?? 0) > 0 ? new BlockClaims() : undefined,
    );
    this.#reader = reader;
    this.#bounds = bounds;
    this.#consumer = consumer;
    this.#signal = signal;
  }

  /** Walks and verifies trees; may be called again for trees left out the first time. */
  async walk(trees: readonly WalkTree[]): Promise<void> {
    const options = { everyCopy: true, ...(this.#signal && { signal: this.#signal }) };
    await new Walker(this.#reader, this.#bounds, this, options).walk(trees);
  }

  readonly fault: WalkVisitor["fault"] = (rule, run, at, detail, copy) => {
    this.#consumer.fault({ rule, tree: run.tree, node: undefined, found: { run, at }, copy, detail });
  };

  misstamped(node: WalkNode, rule: "mirror-tid" | "missing-mask", detail: string): void {
    this.#report(rule, node, -1, detail);
  }

  meet(node: WalkNode): boolean {
    if (node.sizeBytes === 0) return true;
    const sizeKib = node.sizeBytes / KIB;
    let fresh = false;
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const claims = this.claims[copy];
      if (claims === undefined) continue;
      const kib = refPointer(node.view, node.at, copy);
      if (kib === 0 || !pointerInRange(kib, sizeKib, this.#bounds.copyKib[copy] as number)) continue;
      if (claims.claim(kib, sizeKib)) fresh = true;
      else this.#report("block-shared", node, copy, `KiB ${kib} is named by something else too`);
    }
    // A block met before on every copy is not entered again: that bounds a walk by the size of the copies (I12).
    if (!fresh) this.#consumer.repeated(node);
    return fresh;
  }

  arrive(node: WalkNode, arrival: Arrival): boolean {
    if (node.sizeBytes > 0) {
      this.#reportBad(node, arrival);
      this.#consumer.progress?.(1, node.sizeBytes);
      if (arrival.block === undefined) return false;
    }
    return this.#consumer.item(node, arrival.block);
  }

  enter(tree: WalkTree): boolean {
    return this.#consumer.enter(tree);
  }

  #reportBad(node: WalkNode, arrival: Arrival): void {
    if (arrival.unseen) {
      this.#report("block-unseen", node, -1, "it lies on a copy that failed meanwhile, and on no other");
      return;
    }
    if (arrival.good === 0) {
      if (arrival.bad === 0 && isNarrow(node.view, node.at)) {
        this.#report("block-absent", node, -1, "it lies only on copies that are not here");
        return;
      }
      this.#report("block-lost", node, -1, "no copy holds this block as its parent remembers it");
      return;
    }
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      if ((arrival.bad & (1 << copy)) === 0) continue;
      const kib = refPointer(node.view, node.at, copy);
      this.#report("block-bad", node, copy, `the block at KiB ${kib} can't be read or fails its check`);
    }
  }

  #report(rule: VerifyRule, node: WalkNode, copy: number, detail: string): void {
    this.#consumer.fault({ rule, tree: node.tree, node, found: undefined, copy, detail });
  }
}
