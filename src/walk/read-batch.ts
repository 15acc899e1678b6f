// Reads the blocks of one batch of refs: from any copy that can serve, or from every copy for itself. Blocks that nobody keeps
// lend their memory to later ones.

import { REF_CHECK_OFFSET, refCheckType, refPointer } from "../format/blockref.ts";
import { CHECK_BYTES_MAX } from "../format/check.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import type { BlockRead } from "../copies/block-io.ts";
import type { WalkNode } from "./tree.ts";

/** Where a walk reads from: a CopySet. */
export interface BlockReader {
  /** Bit per copy that can be read from. One that stops answering loses its bit. */
  readonly mask: number;
  /** Bit per copy that has lost its bit since the reader was made; none where nobody asks. */
  readonly left?: number;
  readBlocks(requests: readonly BlockRead[]): Promise<void>;
}

/** What became of one block. */
export interface Arrival {
  /** The block, from the first copy on which it is good; undefined when there is none, or the ref has no block. */
  readonly block: DataView | undefined;
  /** Bit per copy on which it was read and verified. */
  readonly good: number;
  /** Bit per copy on which it could not be read or its check failed; not of one that left meanwhile, which says nothing about it. */
  readonly bad: number;
  /** No copy gave it, but one that left may have it. */
  readonly unseen: boolean;
}

const NOTHING: Arrival = Object.freeze({ block: undefined, good: 0, bad: 0, unseen: false });

/** Memory that blocks are read into; what is given back is lent again. */
export class Targets {
  readonly #free = new Map<number, Uint8Array[]>();

  take(sizeBytes: number): Uint8Array {
    const free = this.#free.get(sizeBytes)?.pop();
    if (free !== undefined) return free;
    const buffer = Buffer.allocUnsafeSlow(sizeBytes);
    return new Uint8Array(buffer.buffer, buffer.byteOffset, sizeBytes);
  }

  /** Nobody may look at it any more. */
  give(target: Uint8Array): void {
    const free = this.#free.get(target.length);
    if (free === undefined) this.#free.set(target.length, [target]);
    else free.push(target);
  }
}

/** Pointers to present copies; what a damaged ref says of others must not be followed. */
function presentPointers(node: WalkNode, mask: number, inRange: (copy: number, kib: number) => boolean): number[] {
  const pointers = new Array<number>(COPIES_MAX).fill(0);
  for (let copy = 0; copy < COPIES_MAX; copy++) {
    const kib = refPointer(node.view, node.at, copy);
    if ((mask & (1 << copy)) !== 0 && kib !== 0 && inRange(copy, kib)) pointers[copy] = kib;
  }
  return pointers;
}

/** Bit per copy on which the block has a place. */
function placesOf({ view, at }: WalkNode): number {
  let places = 0;
  for (let copy = 0; copy < COPIES_MAX; copy++) if (refPointer(view, at, copy) !== 0) places |= 1 << copy;
  return places;
}

function only(pointers: readonly number[], copy: number): number[] {
  return pointers.map((kib, index) => (index === copy ? kib : 0));
}

/** One block's requests: one per copy when every copy is verified, else one for all. */
class Fetch {
  readonly requests: BlockRead[] = [];
  readonly copies: number[] = [];
  constructor(node: WalkNode, pointers: readonly number[], everyCopy: boolean, targets: Targets) {
    const { view, at } = node;
    const check = new Uint8Array(view.buffer, view.byteOffset + at + REF_CHECK_OFFSET, CHECK_BYTES_MAX);
    const metadata = node.tree.kind !== "data" || node.level > 0;
    const checkType = refCheckType(view, at);
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      if (pointers[copy] === 0) continue;
      const wanted = everyCopy ? only(pointers, copy) : pointers;
      this.requests.push({ pointers: wanted, checkType, check, target: targets.take(node.sizeBytes), metadata });
      this.copies.push(copy);
      if (!everyCopy) break;
    }
  }

  result({ mask, left = 0 }: BlockReader, node: WalkNode): Arrival {
    let block: DataView | undefined;
    let good = 0;
    let bad = 0;
    this.requests.forEach((request, i) => {
      const bit = 1 << (this.copies[i] as number);
      if (request.error !== undefined) bad |= bit;
      else {
        good |= bit;
        const { buffer, byteOffset, byteLength } = request.target;
        block ??= new DataView(buffer, byteOffset, byteLength);
      }
    });
    return { block, good, bad: bad & mask, unseen: good === 0 && left !== 0 && (placesOf(node) & left) !== 0 };
  }
}

/** What a batch is read from and how. */
export interface BatchSource {
  readonly reader: BlockReader;
  /** From every copy for itself. Without it, `good` and `bad` of an arrival name the first copy only, whichever served. */
  readonly everyCopy: boolean;
  readonly targets: Targets;
  /** Which pointers may be followed at all. */
  readonly inRange: (node: WalkNode, copy: number, kib: number) => boolean;
}

/** Blocks being read, in the order of their refs. */
export class ReadBatch {
  readonly nodes: readonly WalkNode[];
  /** Resolves when all are read. */
  readonly done: Promise<void>;
  readonly #fetches: readonly (Fetch | undefined)[];
  readonly #reader: BlockReader;
  readonly #targets: Targets;

  constructor(nodes: readonly WalkNode[], { reader, everyCopy, targets, inRange }: BatchSource) {
    this.nodes = nodes;
    this.#reader = reader;
    this.#targets = targets;
    this.#fetches = nodes.map((node) => {
      if (node.sizeBytes === 0) return undefined;
      const pointers = presentPointers(node, reader.mask, (copy, kib) => inRange(node, copy, kib));
      return new Fetch(node, pointers, everyCopy, targets);
    });
    const requests = this.#fetches.flatMap((fetch) => fetch?.requests ?? []);
    this.done = requests.length > 0 ? reader.readBlocks(requests) : Promise.resolve();
  }

  /** What became of the block of the ref at `index`; once all are read. */
  arrival(index: number): Arrival {
    return this.#fetches[index]?.result(this.#reader, this.nodes[index] as WalkNode) ?? NOTHING;
  }

  /** Nobody looks at the block of the ref at `index` any more. What could not be read may still be written to by who was given up. */
  giveBack(index: number): void {
    for (const { target, error } of this.#fetches[index]?.requests ?? []) {
      if (error === undefined) this.#targets.give(target);
    }
  }
}
