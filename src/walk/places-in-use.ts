// What a root has in use on its own copy (I7), for whoever must not touch that: the bits of the freemap that the root names.
// Where blocks of that have rotted, those of all that is reachable from the root, as fsck rebuilds a freemap. Only where a part
// of the tree can't be reached either may all be in use: nothing that the root names is given out on a guess.

import type { Copy } from "../copies/copy.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { AnyCopy } from "../copies/lone-copy.ts";
import type { RingRoot } from "../copies/ring.ts";
import { refKey, refPointer } from "../format/blockref.ts";
import { FREEMAP_LEAF_BYTES, leafCount } from "../format/freemap.ts";
import { KIB } from "../format/geometry.ts";
import { LEAF_WORDS } from "../freemap/leaf.ts";
import { holdsRefs } from "../tree/runs.ts";
import { memberSizes } from "../volume/root-image.ts";
import { BlockClaims } from "./claims.ts";
import { pointerInRange } from "./rules.ts";
import { freemapTrees, superRootTree, type WalkNode, type WalkTree } from "./tree.ts";
import { Walker, type WalkVisitor } from "./walker.ts";

/** Words of a bitmap by leaf. */
export type Leaves = Map<number, Uint32Array>;

/**
 * The bitmap of `copy` as `root`, one of its own, has it. A block that is bad there is read from others, where they still
 * have it. Of a copy in doubt, whose state may be spoilt anyway, what can be told is kept.
 */
export async function placesInUse(copy: Copy, root: RingRoot, copies: CopySet): Promise<Leaves> {
  const others = copies.trusted.filter((other) => other !== copy);
  const reader = new AnyCopy([copy, ...others].map((each) => copies.alone(each)));
  const bounds = { sequence: root.sequence, copyKib: memberSizes(root.view), inSync: copy.bit };
  const walk = (visitor: WalkVisitor, trees: readonly WalkTree[]): Promise<void> =>
    new Walker(reader, bounds, visitor, { everyCopy: false }).walk(trees);

  const marked = new MarkedPlaces();
  await walk(marked, freemapTrees(root.view, [copy.index]));
  if (marked.isWhole) return marked.leaves;
  const reached = new ReachedPlaces(copy);
  await walk(reached, [superRootTree(root.view), ...freemapTrees(root.view)]);
  const inDoubt = copy.untrusted || copy.standing === "unknown" || copy.standing === "blank";
  for (let index = 0; index < leafCount(copy.sizeKib); index++) {
    if (marked.leaves.has(index)) continue;
    if (reached.isWhole || inDoubt) {
      const words = reached.claims.leaf(index);
      if (words !== undefined) marked.leaves.set(index, words);
    } else marked.leaves.set(index, new Uint32Array(LEAF_WORDS).fill(0xffff_ffff));
  }
  return marked.leaves;
}

/** Leaves of one freemap, as far as they can be read. */
class MarkedPlaces implements WalkVisitor {
  readonly leaves: Leaves = new Map();
  isWhole = true;

  readonly fault = (): void => void (this.isWhole = false);

  misstamped(): void {
    // Nothing that is looked for here depends on it.
  }

  meet(): boolean {
    return true;
  }

  enter(): boolean {
    return true;
  }

  arrive({ level, view, at }: WalkNode, { block }: { readonly block: DataView | undefined }): boolean {
    if (block === undefined) this.isWhole = false;
    else if (level === 0 && block.byteLength === FREEMAP_LEAF_BYTES) {
      const bytes = new Uint8Array(block.buffer, block.byteOffset, FREEMAP_LEAF_BYTES).slice();
      this.leaves.set(refKey(view, at), new Uint32Array(bytes.buffer));
    }
    return true;
  }
}

/** Places of all blocks that are named, read or not. */
class ReachedPlaces implements WalkVisitor {
  readonly claims = new BlockClaims();
  /** Nothing is named that could not be found. */
  isWhole = true;
  readonly #copy: Copy;

  constructor(copy: Copy) {
    this.#copy = copy;
  }

  readonly fault: WalkVisitor["fault"] = (_rule, _run, _at, _detail, copy) => {
    if (copy < 0 || copy === this.#copy.index) this.isWhole = false;
  };

  misstamped(): void {
    // Nothing that is looked for here depends on it.
  }

  /** Blocks of data are not read: where they lie is known. One met before is not entered again (I12). */
  meet(node: WalkNode): boolean {
    const kib = refPointer(node.view, node.at, this.#copy.index);
    const sizeKib = node.sizeBytes / KIB;
    if (kib === 0 || !pointerInRange(kib, sizeKib, this.#copy.sizeKib)) return holdsRefs(node.type);
    if (this.claims.claim(kib, sizeKib)) return holdsRefs(node.type);
    // Whoever came first need not be the one whose block it is: what hangs from that is not known.
    this.isWhole = false;
    return false;
  }

  /** What a freemap has below a bad block is of no use without it. */
  arrive(node: WalkNode, { block }: { readonly block: DataView | undefined }): boolean {
    if (block === undefined && node.tree.kind !== "freemap") this.isWhole = false;
    return true;
  }

  enter(): boolean {
    return true;
  }
}
