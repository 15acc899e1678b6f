// A block as the ref that names it tells of it, kept apart from the live tree: what to read, how to check it, and how to find
// the ref again after the tree went on.

import type { BlockRead } from "../copies/block-io.ts";
import { REF_CHECK_OFFSET, refCheckType, refPointer, RefType, refSizeBytes, refType } from "../format/blockref.ts";
import { CHECK_BYTES_MAX } from "../format/check.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import type { Block } from "../tree/block.ts";
import { holdersOf, isNarrow } from "../tree/narrow.ts";

export interface NamedBlock {
  readonly pointers: readonly number[];
  readonly checkType: number;
  readonly check: Uint8Array;
  readonly sizeBytes: number;
  readonly type: number;
  /** Bit per copy that a narrow block is to lie on; 0 for other blocks, which belong on all. */
  readonly holders: number;
}

/** What the ref at byte `at` of `block` names. */
export function namedBlock(block: Block, at: number): NamedBlock {
  const { view } = block;
  const pointers: number[] = [];
  for (let copy = 0; copy < COPIES_MAX; copy++) pointers.push(refPointer(view, at, copy));
  return {
    pointers,
    checkType: refCheckType(view, at),
    check: block.bytes.slice(at + REF_CHECK_OFFSET, at + REF_CHECK_OFFSET + CHECK_BYTES_MAX),
    sizeBytes: refSizeBytes(view, at),
    type: refType(view, at),
    holders: isNarrow(view, at) ? holdersOf(view, at) : 0,
  };
}

/** Tells a block by its content and by where it lies on the copies that have it. */
export function blockKey({ pointers, check }: Pick<NamedBlock, "pointers" | "check">): string {
  return `${pointers.join()} ${Buffer.from(check.buffer, check.byteOffset, check.length).toString("latin1")}`;
}

/** A read of it into new memory. */
export function readOf({ pointers, checkType, check, sizeBytes, type }: NamedBlock): BlockRead {
  return { pointers, checkType, check, target: new Uint8Array(sizeBytes), metadata: type !== RefType.DATA };
}

/** Pointers of a block that is written to one copy only. */
export function placeOn(copyIndex: number, kib: number): number[] {
  const pointers = new Array<number>(COPIES_MAX).fill(0);
  pointers[copyIndex] = kib;
  return pointers;
}
