// The trees a volume is made of, as a walk sees them: what each holds, where its root lies, and how a place in it is
// named for people. Trees nest to a fixed depth (super-root → PFS → inode → data, directory, xattrs), so no chain of
// crafted blocks can lead a walk in circles (I12).

import { BLOCKREF_BYTES, BLOCKSET_REFS, RefType, refKey, refLevel, refSizeBytes, refType } from "../format/blockref.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { INODE_CONTENT_OFFSET, INODE_XATTRS_OFFSET, InodeFlag, inodeFlags, inodeMode } from "../format/inode.ts";
import { isDirectory } from "../format/mode.ts";
import { PFS_INODES_OFFSET, PFS_ORPHANS_OFFSET } from "../format/pfs.ts";
import { ROOT_SUPER_OFFSET, rootFreemapOffset } from "../format/root-block.ts";

export type TreeKind = "super-root" | "inodes" | "orphans" | "data" | "directory" | "xattrs" | "freemap";

/** Type of the refs at level 0 of each tree. */
export const ITEM_TYPE: Readonly<Record<TreeKind, number>> = Object.freeze({
  "super-root": RefType.PFS,
  inodes: RefType.INODE,
  orphans: RefType.ORPHAN,
  data: RefType.DATA,
  directory: RefType.DIRENT,
  xattrs: RefType.XATTR,
  freemap: RefType.FREEMAP,
});

/** One tree: a run of `refs` blockrefs at byte `at` of the block behind `view`. */
export interface WalkTree {
  readonly kind: TreeKind;
  /** What it belongs to: PFS id, inode number, or copy index of a freemap; 0 for the super-root. */
  readonly owner: number;
  readonly view: DataView;
  readonly at: number;
  readonly refs: number;
  /** The item whose block holds the run; undefined when that is the root block. */
  readonly holder: WalkNode | undefined;
}

/** The tree of PFS blocks below the root block behind `view`. */
export function superRootTree(view: DataView): WalkTree {
  return { kind: "super-root", owner: 0, view, at: ROOT_SUPER_OFFSET, refs: BLOCKSET_REFS, holder: undefined };
}

const ALL_COPIES: readonly number[] = Array.from({ length: COPIES_MAX }, (_, copy) => copy);

/** The freemaps of these copies, each rooted in one blockref of the root block behind `view`. */
export function freemapTrees(view: DataView, copies = ALL_COPIES): WalkTree[] {
  return copies.map((owner) => ({
    kind: "freemap",
    owner,
    view,
    at: rootFreemapOffset(owner),
    refs: 1,
    holder: undefined,
  }));
}

/** One blockref met on a walk. Its block is the one the ref names, `view` that of the block the ref lies in. */
export class WalkNode {
  readonly tree: WalkTree;
  readonly parent: WalkNode | undefined;
  readonly view: DataView;
  readonly at: number;
  readonly type: number;
  readonly level: number;
  readonly sizeBytes: number;
  readonly key: number;
  /** No key at or below here reaches this one. */
  readonly keyEnd: number;

  constructor(tree: WalkTree, parent: WalkNode | undefined, view: DataView, at: number, keyEnd: number) {
    this.tree = tree;
    this.parent = parent;
    this.view = view;
    this.at = at;
    this.type = refType(view, at);
    this.level = refLevel(view, at);
    this.sizeBytes = refSizeBytes(view, at);
    this.key = refKey(view, at);
    this.keyEnd = keyEnd;
  }
}

/** The trees that hang below an item whose block is behind `view`; none for most. */
export function subtrees(node: WalkNode, view: DataView): WalkTree[] {
  const tree = (kind: TreeKind, at: number, refs: number): WalkTree => ({
    kind,
    owner: node.key,
    view,
    at,
    refs,
    holder: node,
  });
  if (node.type === RefType.PFS) {
    return [tree("inodes", PFS_INODES_OFFSET, BLOCKSET_REFS), tree("orphans", PFS_ORPHANS_OFFSET, BLOCKSET_REFS)];
  }
  if (node.type !== RefType.INODE) return [];
  const trees = [tree("xattrs", INODE_XATTRS_OFFSET, 1)];
  if ((inodeFlags(view) & InodeFlag.INLINE) === 0) {
    const kind = isDirectory(inodeMode(view)) ? "directory" : "data";
    trees.push(tree(kind, INODE_CONTENT_OFFSET, BLOCKSET_REFS));
  }
  return trees;
}

/** "inode 12" and the like. */
export function treeOwner(tree: WalkTree): string {
  switch (tree.kind) {
    case "super-root":
      return "super-root";
    case "inodes":
      return "inode index";
    case "orphans":
      return "orphan tree";
    case "freemap":
      return `freemap of copy ${tree.owner}`;
    case "data":
      return `inode ${tree.owner}, data`;
    case "directory":
      return `inode ${tree.owner}, directory`;
    case "xattrs":
      return `inode ${tree.owner}, xattrs`;
  }
}

/** One line that names a place in a tree: the tree, and the ref in it by level and key. */
export function nodePlace(node: WalkNode): string {
  if (node.level > 0) return `${treeOwner(node.tree)}: indirect block of level ${node.level} at key ${node.key}`;
  switch (node.tree.kind) {
    case "super-root":
      return `PFS ${node.key}`;
    case "inodes":
      return `inode ${node.key}`;
    case "orphans":
      return `orphan mark ${node.key}`;
    case "freemap":
      return `${treeOwner(node.tree)}: leaf ${node.key}`;
    case "data":
      return `inode ${node.tree.owner}: data at byte ${node.key}`;
    case "directory":
      return `inode ${node.tree.owner}: directory entry at key ${node.key}`;
    case "xattrs":
      return `inode ${node.tree.owner}: xattr block`;
  }
}

/** Refs that fit into an indirect block of `sizeBytes`. */
export function refsIn(sizeBytes: number): number {
  return sizeBytes / BLOCKREF_BYTES;
}
