// Repairs inside one tree of blockrefs: runs that break the rules of the format are replaced without being read, blocks
// that lack a place on some copy, or whose ids do not fit together, get new places. Blocks above must be sound.

import { BLOCKREF_BYTES, BLOCKSET_REFS, RefType, refKey, refLevel } from "../format/blockref.ts";
import { INDIRECT_MIN_BYTES } from "../format/geometry.ts";
import { INODE_CONTENT_OFFSET, INODE_XATTRS_OFFSET } from "../format/inode.ts";
import { refAt } from "../tree/block.ts";
import type { PfsState } from "../tree/pfs-state.ts";
import { type Position, type Root, floorIndex, rootCount, rootLevel } from "../tree/tree.ts";
import { editInode, inodesRoot, orphansRoot } from "./inodes.ts";

/** A block in one of the trees of a PFS: by its level and key there. */
export interface BlockPlace {
  readonly tree: "inodes" | "orphans" | "data" | "directory" | "xattrs";
  /** Whose data, entries or attributes; of no meaning for the other trees. */
  readonly ino: number;
  readonly level: number;
  readonly key: number;
}

/** A new indirect block with these refs, packed, instead of the one there. */
export function replaceRun(state: PfsState, place: BlockPlace, refs: Uint8Array): void {
  const found = findPlace(state, place);
  if (found === undefined) return;
  const { store } = state;
  let sizeBytes = INDIRECT_MIN_BYTES;
  while (sizeBytes < refs.length) sizeBytes *= 2;
  store.release(found.block, found.at);
  const block = store.create(found.block, found.at, RefType.INDIRECT, sizeBytes);
  block.bytes.set(refs);
  block.count = refs.length / BLOCKREF_BYTES;
}

/** Copies a block to a new place on every copy. */
export function relocate(state: PfsState, place: BlockPlace): void {
  const found = findPlace(state, place);
  if (found !== undefined) state.store.edit(found.block, found.at);
}

/** The ref of the block at `place`, in a block that can be changed. */
function findPlace(state: PfsState, place: BlockPlace): Position | undefined {
  const { store } = state;
  const root = rootOf(state, place);
  let { block, at } = root;
  let count = rootCount(root);
  for (let level = rootLevel(root); ; level--) {
    const index = floorIndex(block.view, at, count, place.key);
    if (index < 0) return undefined;
    at += refAt(index);
    if (refLevel(block.view, at) === place.level) {
      store.touch(block);
      return refKey(block.view, at) === place.key ? { block, at } : undefined;
    }
    if (level === 0) return undefined;
    block = store.edit(block, at);
    at = 0;
    count = block.count;
  }
}

function rootOf(state: PfsState, { tree, ino }: BlockPlace): Root {
  switch (tree) {
    case "inodes":
      return inodesRoot(state.editPfs());
    case "orphans":
      return orphansRoot(state.editPfs());
    case "xattrs":
      return { block: editInode(state, ino), at: INODE_XATTRS_OFFSET, refs: 1 };
    case "data":
    case "directory":
      return { block: editInode(state, ino), at: INODE_CONTENT_OFFSET, refs: BLOCKSET_REFS };
  }
}
