// A block whose blockrefs break the rules, and the block that can take its place. Findings about the same block share one
// bruise, so that one repair mends all of them.

import { BLOCKREF_BYTES, RefType, setRefPointer } from "../src/format/blockref.ts";
import type { BlockPlace } from "../src/ops/repair-trees.ts";
import type { RepairAction } from "../src/ops/repair.ts";
import { rootRun, runIn, type VolumeBounds } from "../src/walk/rules.ts";
import { subtrees, type WalkNode, type WalkTree } from "../src/walk/tree.ts";
import { fixedInode } from "./fix-inode.ts";
import { fixPfsFields } from "./fix-pfs.ts";
import { mendedRefs } from "./mend-run.ts";

/** What mends a bruise: an operation on the tree, or a PFS block that must be there before the volume can be opened. */
export type Mending = RepairAction | { readonly kind: "pfs-block"; readonly bytes: Uint8Array };

export class Bruise {
  /** The ref of the block. */
  readonly holder: WalkNode;
  readonly #view: DataView;
  readonly #changes: ((view: DataView) => void)[] = [];
  /** It holds an inode that is in the index under its own number. */
  isOther = false;

  constructor(holder: WalkNode, view: DataView) {
    this.holder = holder;
    this.#view = view;
  }

  /** The ref at byte `at` goes. */
  drop(at: number): void {
    this.#changes.push((view) => new Uint8Array(view.buffer, view.byteOffset + at, BLOCKREF_BYTES).fill(0));
  }

  /** The ref at byte `at` no longer names a place on `copy`. */
  forget(at: number, copy: number): void {
    this.#changes.push((view) => setRefPointer(view, at, copy, 0));
  }

  /** Undefined when nothing can be kept of it, nor of what holds it. */
  mend(bounds: VolumeBounds): Mending | undefined {
    const { holder } = this;
    if (this.isOther) return { kind: "drop-inode", ino: holder.key };
    const bytes = new Uint8Array(this.#view.buffer, this.#view.byteOffset, holder.sizeBytes).slice();
    const view = new DataView(bytes.buffer);
    for (const change of this.#changes) change(view);
    switch (holder.type) {
      case RefType.INODE:
        return { kind: "replace-inode", ino: holder.key, bytes: mendedInode(holder, view, bounds) };
      case RefType.PFS:
        return { kind: "pfs-block", bytes: mendedPfs(holder, view, bounds) };
    }
    const place = placeOf(holder);
    if (place === undefined) return undefined;
    const refs = mendedRefs(runIn(holder, view), bounds);
    if (refs.length > 0) return { kind: "replace-run", place, refs };
    // An indirect block must hold something: without it, its own ref goes.
    if (holder.parent === undefined) return undefined;
    const above = new Bruise(holder.parent, holder.view);
    above.drop(holder.at);
    return above.mend(bounds);
  }
}

/** Where an operation finds the block of `node`; undefined above the PFS and in freemaps. */
export function placeOf({ tree, level, key }: Pick<WalkNode, "tree" | "level" | "key">): BlockPlace | undefined {
  if (tree.kind === "super-root" || tree.kind === "freemap") return undefined;
  return { tree: tree.kind, ino: tree.owner, level, key };
}

/** An inode block whose fields and root runs keep the rules. `found` is changed. */
function mendedInode(node: WalkNode, found: DataView, bounds: VolumeBounds): Uint8Array {
  const bytes = fixedInode(found, node.key, bounds.sequence);
  const view = new DataView(bytes.buffer);
  mendRoots(subtrees(node, view), bytes, bounds);
  return bytes;
}

function mendedPfs(node: WalkNode, view: DataView, bounds: VolumeBounds): Uint8Array {
  const bytes = new Uint8Array(view.buffer);
  fixPfsFields(bytes, view, node.key);
  mendRoots(subtrees(node, view), bytes, bounds);
  return bytes;
}

/** Mends the runs of the trees that are rooted in the block `bytes`. */
function mendRoots(trees: readonly WalkTree[], bytes: Uint8Array, bounds: VolumeBounds): void {
  for (const tree of trees) {
    const refs = mendedRefs(rootRun(tree), bounds);
    bytes.fill(0, tree.at, tree.at + tree.refs * BLOCKREF_BYTES);
    bytes.set(refs, tree.at);
  }
}
