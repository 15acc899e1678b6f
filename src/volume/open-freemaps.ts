// The allocators of a volume that is opened: their summaries read from the freemap trees, or filled anew where those are not
// trusted, and what older roots of any ring still name held back (I3).

import type { ChosenRoot } from "../copies/choose-root.ts";
import { refFreeChunks, refFreeKib, refKey } from "../format/blockref.ts";
import { leafCount } from "../format/freemap.ts";
import { rootSequence } from "../format/root-block.ts";
import type { Freemap } from "../freemap/freemap.ts";
import { LEAF_WORDS } from "../freemap/leaf.ts";
import type { Block } from "../tree/block.ts";
import type { BlockStore } from "../tree/store.ts";
import { treeCeiling } from "../tree/tree.ts";
import type { BlockRules } from "../tree/validate.ts";
import { FreemapFault, lookingInto } from "./freemap-fault.ts";
import { freemapRoot } from "./freemap-trees.ts";
import { holdBits, mergeBits, usedOnlyByOlder } from "./older-roots.ts";
import { checkRootRefs, imageBlock } from "./root-image.ts";

/** Bits of one copy, a word for 32 KiB each. */
export interface RebuiltFreemap {
  readonly words: Uint32Array;
  /** What must not be used before three commits went by. */
  readonly hold: Uint32Array;
}

/** Reads what each leaf of a copy's bitmap has free; throws FreemapFault when that can't be. */
export async function loadSummaries(store: BlockStore, rootImage: Block, freemap: Freemap): Promise<void> {
  const root = freemapRoot(rootImage, freemap.copy);
  const leaves = leafCount(freemap.sizeKib);
  let key = 0;
  const load = (): void => {
    for (let ref = treeCeiling(store, root, key); ref !== undefined; ref = treeCeiling(store, root, key)) {
      const { view } = ref.block;
      const index = refKey(view, ref.at);
      if (index >= leaves) throw new FreemapFault(freemap.copy, `it has a leaf ${index}`);
      freemap.setLeafSummary(index, refFreeKib(view, ref.at), refFreeChunks(view, ref.at));
      key = index + 1;
    }
  };
  await store.untilLoaded(() => lookingInto(freemap.copy, load));
}

/** As `loadSummaries`, of a volume that is only read: what can't be known to be free counts as used. */
export async function loadSummariesIfAny(store: BlockStore, rootImage: Block, freemap: Freemap): Promise<void> {
  try {
    await loadSummaries(store, rootImage, freemap);
  } catch (error) {
    if (!(error instanceof FreemapFault)) throw error;
    for (let index = 0; index < leafCount(freemap.sizeKib); index++) freemap.setLeafSummary(index, 0, 0);
  }
}

/** Holds back what the older roots of any ring use and the newest has free. */
export async function holdOlder(
  store: BlockStore,
  rootImage: Block,
  rules: BlockRules,
  chosen: ChosenRoot,
): Promise<void> {
  // One transaction longer than a running volume would: a crash may have left one ring a root behind the others.
  const sequence = rootSequence(rootImage.view) + 1;
  const usedBy = async (image: Uint8Array, copy: number): Promise<Map<number, Uint32Array>> => {
    const older = imageBlock(image.slice());
    try {
      checkRootRefs(rules, older);
      return await usedOnlyByOlder(store, rootImage, older, copy);
    } catch (error) {
      // An older root whose freemap can't be read is no root anybody could fall back to: it holds nothing. Not so where it is the newest's.
      if (!(error instanceof Error) || error instanceof FreemapFault) throw error;
      return new Map();
    }
  };
  const holdOn = async (freemap: Freemap): Promise<void> => {
    const held = new Map<number, Uint32Array>();
    const found = await Promise.all(chosen.olderImages.map((image) => usedBy(image, freemap.copy)));
    for (const bits of found) mergeBits(held, bits);
    for (const [index, bits] of held) {
      const leaf = await store.untilLoaded(() => freemap.leaf(index));
      // What a log has was free for it to take: its places are held already. A bitmap that was computed is in no tree yet.
      holdBits(
        freemap,
        sequence,
        index,
        bits.map((word, i) => word & ~((leaf.words[i] as number) | (leaf.held?.[i] ?? 0))),
      );
    }
  };
  await Promise.all(store.freemaps.flatMap((freemap) => (freemap === undefined ? [] : [holdOn(freemap)])));
}

/** Bits to be held back on one copy. */
export interface Holding {
  readonly freemap: Freemap;
  readonly hold: Uint32Array;
}

/** Fills all allocators from bitmaps computed elsewhere; what is to be held back with them is left for `holdRebuilt`. */
export function fillFreemaps(store: BlockStore, rebuild: (copyIndex: number) => RebuiltFreemap): readonly Holding[] {
  return store.freemaps.flatMap((freemap) => {
    if (freemap === undefined) return [];
    const { words, hold } = rebuild(freemap.copy);
    freemap.fillFrom(words);
    return [{ freemap, hold }];
  });
}

/** Holds back what bitmaps computed elsewhere say, but for what a log has: its places are set aside before (trap 4). */
export function holdRebuilt(rootImage: Block, holdings: readonly Holding[]): void {
  for (const { freemap, hold } of holdings) {
    for (let index = 0; index * LEAF_WORDS < hold.length; index++) {
      const bits = hold.slice(index * LEAF_WORDS, (index + 1) * LEAF_WORDS);
      if (!bits.some((word) => word !== 0)) continue;
      const leaf = freemap.leaf(index);
      holdBits(
        freemap,
        rootSequence(rootImage.view) + 1,
        index,
        bits.map((word, i) => word & ~((leaf.words[i] as number) | (leaf.held?.[i] ?? 0))),
      );
    }
  }
}
