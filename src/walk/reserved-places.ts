// Places for blocks that are brought to a copy: set aside before the blocks are written there, taken for good in the operation in
// which the tree gets its pointers (I1, I8), and set aside again if that is undone. What is left is given back when it stands. A
// copy may leave meanwhile, and another one get its index.

import type { BlockRead } from "../copies/block-io.ts";
import { KIB } from "../format/geometry.ts";
import { type Freemap, NO_ROOM } from "../freemap/freemap.ts";
import type { BlockStore } from "../tree/store.ts";
import type { Volume } from "../volume/volume.ts";
import { blockKey, type NamedBlock, readOf } from "./named-block.ts";

/** No block was entered. */
export const NONE: ReadonlySet<string> = new Set();

/** A block and where it goes. */
export interface Reserved {
  readonly named: NamedBlock;
  readonly read: BlockRead;
  readonly copy: number;
  /** The allocator of that copy. */
  readonly freemap: Freemap;
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
    giveBack(store, reserved, NONE);
    throw error;
  }
  return reserved;
}

function reservePlace(store: BlockStore, named: NamedBlock, copies: readonly number[]): Reserved | undefined {
  for (const copy of copies) {
    const freemap = store.freemap(copy);
    const kib = freemap.reserve(named.sizeBytes / KIB);
    if (kib !== NO_ROOM) return { named, read: readOf(named), copy, freemap, kib };
  }
  return undefined;
}

/** In the operation that `entered` blocks, by their keys: takes their places for good. */
export function useReserved(store: BlockStore, reserved: readonly Reserved[], entered: ReadonlySet<string>): void {
  for (const place of reserved) {
    const { named, copy, kib } = place;
    if (entered.has(blockKey(named)) && isStillThere(store, place)) store.useReserved(copy, kib, named.sizeBytes / KIB);
  }
}

/** Gives back all places but those of blocks that were `entered`. Outside of any operation, which could be undone. */
export function giveBack(store: BlockStore, reserved: Reserved[], entered: ReadonlySet<string>): void {
  for (const place of reserved.splice(0)) {
    const { named, freemap, kib } = place;
    if (entered.has(blockKey(named)) || !isStillThere(store, place)) continue;
    freemap.endReservation(kib, named.sizeBytes / KIB, false);
  }
}

/** False when the copy that the place is on has left. */
export const isStillThere = (store: BlockStore, { copy, freemap }: Reserved): boolean =>
  store.freemaps[copy] === freemap;

/**
 * Sets places aside by `reserve`, and reads the blocks that go there. To be begun as soon as the live tree has named them: no
 * place of theirs is given out before the reads are over, and the repairs that these lead to (I3, I5). `readToo` tells what else is
 * read with them.
 */
export function reserveAndRead(
  volume: Volume,
  reserve: () => Reserved[],
  readToo?: (reserved: readonly Reserved[]) => readonly BlockRead[],
): Promise<Reserved[]> {
  const work = reservedAndRead(volume, reserve, readToo);
  volume.store.holdPlaces(work);
  return work;
}

async function reservedAndRead(
  volume: Volume,
  reserve: () => Reserved[],
  readToo: (reserved: readonly Reserved[]) => readonly BlockRead[] = () => [],
): Promise<Reserved[]> {
  const reserved = await volume.untilLoaded(reserve);
  try {
    await volume.copies.readBlocks([...reserved.map(({ read }) => read), ...readToo(reserved)]);
    return reserved;
  } catch (error) {
    giveBack(volume.store, reserved, NONE);
    throw error;
  }
}
