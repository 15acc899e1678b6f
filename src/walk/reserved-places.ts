// Places for blocks that are brought to a copy: set aside before the blocks are written there, and given back, or taken for
// good, in the same step in which the tree gets its pointers (I1, I8).

import type { BlockRead } from "../copies/block-io.ts";
import { KIB } from "../format/geometry.ts";
import { NO_ROOM } from "../freemap/freemap.ts";
import type { BlockStore } from "../tree/store.ts";
import { blockKey, type NamedBlock, readOf } from "./named-block.ts";

/** A block and where it goes. */
export interface Reserved {
  readonly named: NamedBlock;
  readonly read: BlockRead;
  readonly copy: number;
  readonly kib: number;
}

/**
 * A place for each of the blocks, on the first of the copies that `copiesFor` tells, in that order, that has room. Where none has,
 * the block is left out; `whileRoom`: and all after it. May throw MISS, and then nothing is reserved.
 */
export function reservePlaces(
  store: BlockStore,
  blocks: readonly NamedBlock[],
  copiesFor: (named: NamedBlock) => readonly number[],
  { whileRoom }: { readonly whileRoom: boolean },
): Reserved[] {
  const reserved: Reserved[] = [];
  try {
    for (const named of blocks) {
      const place = reservePlace(store, named, copiesFor(named));
      if (place !== undefined) reserved.push(place);
      else if (whileRoom) break;
    }
  } catch (error) {
    endReserved(store, reserved, new Set());
    throw error;
  }
  return reserved;
}

function reservePlace(store: BlockStore, named: NamedBlock, copies: readonly number[]): Reserved | undefined {
  for (const copy of copies) {
    const kib = store.freemap(copy).reserve(named.sizeBytes / KIB);
    if (kib !== NO_ROOM) return { named, read: readOf(named), copy, kib };
  }
  return undefined;
}

/** Takes the places of blocks that were `entered`, by their keys, for good, and gives the others back. They are reserved no more. */
export function endReserved(store: BlockStore, reserved: Reserved[], entered: ReadonlySet<string>): void {
  for (const { named, copy, kib } of reserved.splice(0)) {
    // One that was detached meanwhile has no bitmap any more.
    store.freemaps[copy]?.endReservation(kib, named.sizeBytes / KIB, entered.has(blockKey(named)));
  }
}
