// Whether a block that has the check code of a ref is the one that the ref means. Two refs may have one place and one code: then
// it belongs to the one whose key it bears. As src/tree/named-by.ts, for whoever has the media only.

import { BLOCKREF_BYTES, refKey, refLevel, RefType, refType } from "../format/blockref.ts";
import { INODE_MAGIC, inodeMagic, inodeNumber } from "../format/inode.ts";
import { PFS_MAGIC, pfsId, pfsMagic } from "../format/pfs.ts";
import { ITEM_TYPE, refsIn, type WalkNode } from "./tree.ts";

/** True when `block`, whose check code is right, says nothing else than the ref of `node` does. */
export function fitsRef(node: WalkNode, block: DataView): boolean {
  try {
    switch (node.type) {
      case RefType.INDIRECT:
        return isRunOf(node, block);
      case RefType.INODE:
        return inodeMagic(block) === INODE_MAGIC && inodeNumber(block) === node.key;
      case RefType.PFS:
        return pfsMagic(block) === PFS_MAGIC && pfsId(block) === node.key;
      default:
        return true;
    }
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/** Its first and its last ref are of the tree, the level and the range of keys of `node`. */
function isRunOf({ tree, level, sizeBytes, key, keyEnd }: WalkNode, block: DataView): boolean {
  let last = refsIn(sizeBytes) - 1;
  while (last > 0 && refType(block, last * BLOCKREF_BYTES) === RefType.EMPTY) last--;
  const wanted = level > 1 ? RefType.INDIRECT : ITEM_TYPE[tree.kind];
  return [0, last * BLOCKREF_BYTES].every((at) => {
    if (refType(block, at) !== wanted || refLevel(block, at) !== level - 1) return false;
    return refKey(block, at) >= key && refKey(block, at) < keyEnd;
  });
}
