// Bitmaps computed from what a check reached. Nothing that was not proved free is called free: where the tree has gaps,
// what the old bitmap marked stays marked; what only the newest root's bitmaps and freemap trees use is held back for three commits
// (I3), because that root names it. What older roots name is held by whoever opens the volume on these (src/volume/open-freemaps.ts).

import { leafCount } from "../src/format/freemap.ts";
import { LEAF_WORDS } from "../src/freemap/leaf.ts";
import type { RebuiltFreemap } from "../src/volume/open-freemaps.ts";
import type { Checked } from "./check.ts";

/** True when enough is known to compute the bitmap: no gap in the tree but what is given up, or an old bitmap to be careful by. */
export function canRebuild(checked: Checked, copy: number): boolean {
  return !checked.content.openGap || !checked.content.freemapGaps.has(copy);
}

export function rebuildFreemap(checked: Checked, copy: number): RebuiltFreemap {
  const leaves = leafCount(checked.bounds.copyKib[copy] ?? 0);
  const words = new Uint32Array(leaves * LEAF_WORDS);
  const hold = new Uint32Array(leaves * LEAF_WORDS);
  const { content } = checked;
  for (let index = 0; index < leaves; index++) {
    const reached = checked.filesOnly[copy]?.leaf(index);
    const everything = checked.claims[copy]?.leaf(index);
    const marked = content.leaves[copy]?.get(index)?.words;
    const base = index * LEAF_WORDS;
    for (let word = 0; word < LEAF_WORDS; word++) {
      const used = (reached?.[word] ?? 0) | (content.gap ? (marked?.[word] ?? 0) : 0);
      words[base + word] = used;
      hold[base + word] = ((everything?.[word] ?? 0) | (marked?.[word] ?? 0)) & ~used;
    }
  }
  return { words, hold };
}
