// The visitor that proves a volume: every block reachable from a root is read on every copy, claimed once per copy,
// and handed, when it is good, to whoever looks at its content (fsck). It changes nothing.
// Where several refs name one place, whose block lies there is told by the block, not by who comes first (place-claims.ts).

import { refPointer } from "../format/blockref.ts";
import { COPIES_MAX, KIB } from "../format/geometry.ts";
import { isNarrow } from "../tree/narrow.ts";
import { holdsRefs } from "../tree/runs.ts";
import type { BlockClaims } from "./claims.ts";
import { fitsRef } from "./fits.ts";
import { PlaceClaims } from "./place-claims.ts";
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
  /** Of block-shared: what the ref is for the place. */
  readonly sharing?: Sharing;
}

/**
 * What one of several refs to a place is: one whose block lies there or on another copy, whoever else names the place; one that is
 * mistaken, or one too many; or one that can't be told without the copy, which was not asked.
 */
export type Sharing = "right" | "wrong" | "unknown";

/** A ref to be read although others name some of its places. */
interface SharedPlaces {
  /** Bit per copy on which that is so. */
  readonly copies: number;
  /** It has a place of its own, too. */
  readonly hasOwn: boolean;
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
  readonly #places: readonly (PlaceClaims | undefined)[];
  /** Refs on their way to `arrive`. */
  readonly #shared = new Map<WalkNode, SharedPlaces>();
  readonly #reader: BlockReader;
  readonly #bounds: VolumeBounds;
  readonly #consumer: VerifyConsumer;
  readonly #signal: AbortSignal | undefined;

  constructor(reader: BlockReader, bounds: VolumeBounds, consumer: VerifyConsumer, signal?: AbortSignal) {
    this.#places = Array.from({ length: COPIES_MAX }, (_, copy) =>
      (bounds.copyKib[copy] ?? 0) > 0 ? new PlaceClaims() : undefined,
    );
    this.claims = this.#places.map((places) => places?.all);
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
    let copies = 0;
    let hasOwn = false;
    let isRead = false;
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      const kib = this.#kibOn(node, copy);
      if (kib === 0) continue;
      const claim = (this.#places[copy] as PlaceClaims).claim(kib, node.sizeBytes / KIB);
      if (claim === "first") hasOwn = true;
      else copies |= 1 << copy;
      if (claim !== "too-many") isRead = true;
    }
    if (copies !== 0 && isRead) this.#shared.set(node, { copies, hasOwn });
    if (isRead) return true;
    this.#reportShared(node, copies, false);
    this.#consumer.repeated(node);
    return false;
  }

  arrive(node: WalkNode, arrival: Arrival): boolean {
    if (node.sizeBytes > 0) {
      const shared = this.#shared.get(node);
      this.#reportBad(node, arrival);
      this.#consumer.progress?.(1, node.sizeBytes);
      if (shared !== undefined && !this.#isHere(node, arrival, shared)) return false;
      if (arrival.block === undefined) return false;
    }
    if (!this.#consumer.item(node, arrival.block)) return false;
    // Whoever looks below a block that is another one's leaves it to that one: none of its keys may be followed from here.
    if (arrival.block !== undefined && holdsRefs(node.type) && fitsRef(node, arrival.block)) {
      for (let copy = 0; copy < COPIES_MAX; copy++) {
        if ((arrival.good & (1 << copy)) === 0) continue;
        this.#places[copy]?.enter(this.#kibOn(node, copy), node.sizeBytes / KIB);
      }
    }
    return true;
  }

  /**
   * Says what a ref is for the places that others name, too. False: its block is looked at no further, because it is another one's,
   * or because somebody entered it. So what hangs from a place is entered once, which bounds a walk by the size of the copies (I12).
   */
  #isHere(node: WalkNode, { block, good }: Arrival, { copies, hasOwn }: SharedPlaces): boolean {
    this.#shared.delete(node);
    const fits = block !== undefined && fitsRef(node, block);
    const isRight = fits && (hasOwn || !holdsRefs(node.type) || !this.#isEntered(node, good));
    this.#reportShared(node, copies, isRight);
    if (isRight || hasOwn) return true;
    // What could not be read was told already.
    if (block !== undefined) this.#consumer.repeated(node);
    return false;
  }

  /** What hangs from the block was entered wherever that is good. */
  #isEntered(node: WalkNode, good: number): boolean {
    return this.#places.every(
      (places, copy) =>
        places === undefined ||
        (good & (1 << copy)) === 0 ||
        places.isEntered(this.#kibOn(node, copy), node.sizeBytes / KIB),
    );
  }

  /** KiB at which a ref says that its block lies on a copy; 0 where it says nothing that can be, and of copies that the volume has not. */
  #kibOn({ view, at, sizeBytes }: WalkNode, copy: number): number {
    const copyKib = this.#bounds.copyKib[copy] ?? 0;
    const kib = copyKib === 0 ? 0 : refPointer(view, at, copy);
    return kib !== 0 && pointerInRange(kib, sizeBytes / KIB, copyKib) ? kib : 0;
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

  /** `copies`: on which others name the place. */
  #reportShared(node: WalkNode, copies: number, isRight: boolean): void {
    // What lies on a copy that is being detached does not matter any more.
    const asked = this.#reader.mask | (this.#bounds.leaving ?? 0);
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      if ((copies & (1 << copy)) === 0) continue;
      const sharing = isRight ? "right" : (asked & (1 << copy)) === 0 ? "unknown" : "wrong";
      const kib = refPointer(node.view, node.at, copy);
      const detail = `KiB ${kib} is named by something else too`;
      this.#consumer.fault({ rule: "block-shared", tree: node.tree, node, found: undefined, copy, detail, sharing });
    }
  }

  #report(rule: VerifyRule, node: WalkNode, copy: number, detail: string): void {
    this.#consumer.fault({ rule, tree: node.tree, node, found: undefined, copy, detail });
  }
}
