// Bitmaps computed from what a check reached. Nothing that was not proved free is called free: where the tree has gaps,
// what the old bitmap marked stays marked, and all that a lost part of it stood for counts as used; what only the newest root's bitmaps
// and freemap trees use is held back for three commits (I3), because that root names it. What older roots name is held by whoever
// opens the volume on these (src/volume/open-freemaps.ts).

import { FREEMAP_LEAF_KIB, leafCount, usableRange } from "../src/format/freemap.ts";
import { LEAF_WORDS } from "../src/freemap/leaf.ts";
import type { RebuiltFreemap } from "../src/volume/open-freemaps.ts";
import type { Checked } from "./check.ts";

/**
 * What lies below a block that is to be given up: free only where the commit that writes the bitmap gives it up, too. As long as the tree
 * names the block a later look may be able to read it, and all below (I3).
 */
export type BelowGivenUp = "free" | "in-use";

/** True when enough is known to compute the bitmap: no gap in the tree, or some of an old bitmap to go by. */
export function canRebuild(checked: Checked, copy: number, belowGivenUp: BelowGivenUp): boolean {
  const leaves = leafCount(checked.bounds.copyKib[copy] ?? 0);
  for (let index = 0; index < leaves; index++) if (!mayBeUsed(checked, copy, index, belowGivenUp)) return true;
  return leaves === 0;
}

/** Something that could not be followed may lie anywhere in the leaf, and its old bitmap is lost. */
function mayBeUsed({ content }: Checked, copy: number, index: number, belowGivenUp: BelowGivenUp): boolean {
  if (!(belowGivenUp === "free" ? content.openGap : content.gap)) return false;
  return (content.freemapGaps.get(copy) ?? []).some(({ first, end }) => first <= index && index < end);
}

/** The words of a leaf in which all that an allocator may use is used. */
function allUsed(copyKib: number, index: number): Uint32Array {
  const [startKib, endKib] = usableRange(copyKib);
  const base = index * FREEMAP_LEAF_KIB;
  const wordAt = (kib: number): number => Math.min(LEAF_WORDS, Math.max(0, (kib - base) / 32));
  return new Uint32Array(LEAF_WORDS).fill(0xffffffff, wordAt(startKib), wordAt(endKib));
}

export function rebuildFreemap(checked: Checked, copy: number, belowGivenUp: BelowGivenUp): RebuiltFreemap {
  const copyKib = checked.bounds.copyKib[copy] ?? 0;
  const leaves = leafCount(copyKib);
  const words = new Uint32Array(leaves * LEAF_WORDS);
  const hold = new Uint32Array(leaves * LEAF_WORDS);
  const { content } = checked;
  for (let index = 0; index < leaves; index++) {
    const reached = checked.filesOnly[copy]?.leaf(index);
    const everything = checked.claims[copy]?.leaf(index);
    const marked = mayBeUsed(checked, copy, index, belowGivenUp)
      ? allUsed(copyKib, index)
      : content.leaves[copy]?.get(index)?.words;
    const base = index * LEAF_WORDS;
    for (let word = 0; word < LEAF_WORDS; word++) {
      const used = (reached?.[word] ?? 0) | (content.gap ? (marked?.[word] ?? 0) : 0);
      words[base + word] = used;
      hold[base + word] = ((everything?.[word] ?? 0) | (marked?.[word] ?? 0)) & ~used;
    }
  }
  return { words, hold };
}
