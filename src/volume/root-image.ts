// The image of a root as a block of the store, and what a root says that has to hold before anything below it is read (I12).

import { FsError } from "../base/errno.ts";
import { BLOCKSET_REFS, RefType } from "../format/blockref.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { ROOT_SUPER_OFFSET, rootFreemapOffset } from "../format/root-block.ts";
import { rootLastSeen } from "../format/root-members.ts";
import { Block, ROOT_IMAGE } from "../tree/block.ts";
import { CorruptBlockStructure } from "../tree/miss.ts";
import { BlockRules } from "../tree/validate.ts";

/** The image of a root as a block that is always writable. */
export function imageBlock(bytes: Uint8Array): Block {
  const block = new Block(ROOT_IMAGE, { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) });
  block.dirty = true;
  return block;
}

/** Block rules for the copies a root knows, present or not. */
export function rulesFor(root: DataView): BlockRules {
  return new BlockRules(memberSizes(root));
}

/** KiB of each copy, by index; 0 where the volume has none. */
export function memberSizes(root: DataView): number[] {
  return Array.from({ length: COPIES_MAX }, (_, index) => rootLastSeen(root, index)?.sizeKib ?? 0);
}

/** A root that verifies may still be crafted (I12). */
export function checkRootRefs(rules: BlockRules, rootImage: Block): void {
  const { view } = rootImage;
  try {
    rules.refs(view, ROOT_SUPER_OFFSET, BLOCKSET_REFS, RefType.PFS, undefined, 0, Number.MAX_SAFE_INTEGER);
    for (let copy = 0; copy < COPIES_MAX; copy++) {
      rules.refs(view, rootFreemapOffset(copy), 1, RefType.FREEMAP, undefined, 0, Number.MAX_SAFE_INTEGER);
    }
  } catch (error) {
    if (!(error instanceof CorruptBlockStructure) && !(error instanceof RangeError)) throw error;
    throw new FsError("EIO", `the newest root is damaged: ${error.message}; run fsck.h2ts`);
  }
}
