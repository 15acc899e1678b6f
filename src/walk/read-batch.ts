// Reads the blocks of one batch of refs: from any copy that can serve, or from every copy for itself.

import { REF_CHECK_OFFSET, refCheckType, refPointer } from "../format/blockref.ts";
import { CHECK_BYTES_MAX } from "../format/check.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import type { BlockRead } from "../copies/block-io.ts";
import type { WalkNode } from "./tree.ts";

/** Where a walk reads from: a CopySet. */
export interface BlockReader {
  /** Bit per copy that is present. */
  readonly mask: number;
  readBlocks(requests: readonly BlockRead[]): Promise<void>;
}

/** What became of one block. */
export interface Arrival {
  /** The block, from the first copy on which it is good; undefined when there is none, or the ref has no block. */
  readonly block: DataView | undefined;
  /** Bit per copy on which it was read and verified. */
  readonly good: number;
  /** Bit per copy on which it could not be read or its check failed. */
  readonly bad: number;
}

const NOTHING: Arrival = Object.freeze({ block: undefined, good: 0, bad: 0 });

function newTarget(sizeBytes: number): Uint8Array {
  const buffer = Buffer.allocUnsafeSlow(sizeBytes);
  return new Uint8Array(buffer.buffer, buffer.byteOffset, sizeBytes);
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

function only(pointers: readonly number[], copy: number): number[] {
  return pointers.map((kib, index) => (index === copy ? kib : 0));
}

/** One block's requests: one per copy when every copy is verified, else one for all. */
class Fetch {
  readonly requests: BlockRead[] = [];
  readonly copies: number[] = [];

  constructor(node: WalkNode, pointers: readonly number[], everyCopy: boolean) {
    const { view, at } = node;
    const check = new Uint8Array(view.buffer, view.byteOffset + at + REF_CHECK_OFFSET, CHECK_BYTES_MAX);
    const metadata = node.tree.kind !== "data" || node.level > 0;
    const checkType = refCheckType(view, at);
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      if (pointers[copy] === 0) continue;
      const wanted = everyCopy ? only(pointers, copy) : pointers;
      this.requests.push({ pointers: wanted, checkType, check, target: newTarget(node.sizeBytes), metadata });
      this.copies.push(copy);
      if (!everyCopy) break;
    }
  }

  result(): Arrival {
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
    return { block, good, bad };
  }
}

/**
 * Reads the blocks of `nodes`, in their order; `inRange` says which pointers may be followed at all. Without
 * `everyCopy`, `good` and `bad` name the first copy only, whichever served.
 */
export async function readBatch(
  reader: BlockReader,
  nodes: readonly WalkNode[],
  everyCopy: boolean,
  inRange: (node: WalkNode, copy: number, kib: number) => boolean,
): Promise<Arrival[]> {
  const fetches = nodes.map((node) => {
    if (node.sizeBytes === 0) return undefined;
    const pointers = presentPointers(node, reader.mask, (copy, kib) => inRange(node, copy, kib));
    return new Fetch(node, pointers, everyCopy);
  });
  const requests = fetches.flatMap((fetch) => fetch?.requests ?? []);
  if (requests.length > 0) await reader.readBlocks(requests);
  return fetches.map((fetch) => fetch?.result() ?? NOTHING);
}
