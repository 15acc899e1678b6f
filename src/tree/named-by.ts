// Whether a block in memory is the one that a ref names. A place alone does not tell: on a volume that is damaged or crafted, two
// refs name one place, and what one of them verified there (I5) and held to the rules of its type (I12) proves nothing for the other.
// A block is known by what its ref said when it was read or sealed: type, kind of check code, level and size, and the first
// 64 bits of the check code. What the rules compared with the ref besides is compared again. Asked on every hit: a few loads.
// Of an indirect block only the lower bound of its keys is: that is what keeps a search for the next key from going back.

import { refCheckWord, refHeadWord, refIsDirty, refKey, RefType } from "../format/blockref.ts";
import { inodeNumber } from "../format/inode.ts";
import { pfsId } from "../format/pfs.ts";
import { ROOT_SUPER_OFFSET } from "../format/root-block.ts";
import { type Block, itemTypeAt } from "./block.ts";
import type { LostBlock } from "./lost-block.ts";

/** Notes what the ref at byte `at`, by which a block is read or sealed, says of its content. */
export function noteRef(block: Block, view: DataView, at: number): void {
  block.refHead = refHeadWord(view, at);
  block.checkLow = refCheckWord(view, at, 0);
  block.checkHigh = refCheckWord(view, at, 1);
}

/** Notes what was noted of `other`. */
export function noteSame(block: Block, other: Block): void {
  block.refHead = other.refHead;
  block.checkLow = other.checkLow;
  block.checkHigh = other.checkHigh;
}

function isNoted(block: Block, view: DataView, at: number): boolean {
  return (
    block.checkLow === refCheckWord(view, at, 0) &&
    block.checkHigh === refCheckWord(view, at, 1) &&
    block.refHead === refHeadWord(view, at)
  );
}

/** True when `block`, which lies where the ref at byte `at` of `holder` says, is what that ref names. */
export function isNamedBy(block: Block, holder: Block, at: number): boolean {
  const { view } = holder;
  // One that is dirty has no check code yet, and a place of its own since it was made.
  if (block.dirty || refIsDirty(view, at)) return block.dirty && refIsDirty(view, at);
  if (!isNoted(block, view, at)) return false;
  switch (block.type) {
    case RefType.INDIRECT:
      return itemTypeAt(holder, at, ROOT_SUPER_OFFSET) === block.itemType && refKey(block.view, 0) >= refKey(view, at);
    case RefType.INODE:
      return inodeNumber(block.view) === refKey(view, at);
    case RefType.PFS:
      return pfsId(block.view) === refKey(view, at);
    default:
      return true;
  }
}

/** True when it is the block that this ref names that was found lost. */
export function isLostOf(lost: LostBlock, holder: Block, at: number): boolean {
  if (!isNoted(lost, holder.view, at) || lost.key !== refKey(holder.view, at)) return false;
  return lost.itemType === itemTypeAt(holder, at, ROOT_SUPER_OFFSET);
}
