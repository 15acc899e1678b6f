// How much a full check will read, for the progress bar: what the freemaps' refs in the newest root say is in use, as
// far as the root itself tells; else the size of the largest copy.

import type { CopySet } from "../src/copies/copy-set.ts";
import { readRings, ringRoots } from "../src/copies/ring.ts";
import { RefType, refFreeKib, refType } from "../src/format/blockref.ts";
import { usableRange } from "../src/format/freemap.ts";
import { KIB } from "../src/format/geometry.ts";
import { rootFreemapOffset } from "../src/format/root-block.ts";

/** Bytes of blocks in use on the fullest copy. */
export async function usedBytes(copies: CopySet): Promise<number> {
  const { rings } = await readRings(copies);
  let most = 0;
  for (const ring of rings) {
    const [newest] = ringRoots(ring);
    const [start, end] = usableRange(ring.copy.sizeKib);
    let usedKib = end - start;
    if (newest !== undefined) {
      const at = rootFreemapOffset(ring.copy.index);
      if (refType(newest.view, at) === RefType.FREEMAP) usedKib -= refFreeKib(newest.view, at);
    }
    most = Math.max(most, usedKib);
  }
  return most * KIB;
}
