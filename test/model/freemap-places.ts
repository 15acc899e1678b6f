// Where a leaf of a bitmap lies, for tests that damage it.

import { refPointer } from "../../src/format/blockref.ts";
import { treeFind } from "../../src/tree/tree.ts";
import { freemapRoot } from "../../src/volume/freemap-trees.ts";
import type { SimulatedVolume } from "./simulated-volume.ts";

/** First KiB of leaf `index` of the bitmap of copy 0, on each copy. */
export async function placesOfLeaf({ volume, devices }: SimulatedVolume, index: number): Promise<readonly number[]> {
  return volume.view(({ store }) => {
    const leaf = treeFind(store, freemapRoot(volume.rootImage, 0), index);
    if (leaf === undefined) throw new Error(`there is no leaf ${index}`);
    return devices.map((_, copy) => refPointer(leaf.block.view, leaf.at, copy));
  });
}
