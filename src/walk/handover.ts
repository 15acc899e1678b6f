// Narrow blocks of a copy on its way out are brought to another copy in sync before the pointer to it is cleared: written to
// reserved places, flushed, and only then entered (I1, I8). What was brought is done; a walk that is stopped goes on with the rest.

import type { BlockRead } from "../copies/block-io.ts";
import { RefType, refSizeBytes, refType } from "../format/blockref.ts";
import { KIB } from "../format/geometry.ts";
import { type Freemap, NO_ROOM } from "../freemap/freemap.ts";
import { countBits, holdersOf, inOrder, isNarrow, placedOn } from "../tree/narrow.ts";
import type { BlockStore } from "../tree/store.ts";
import type { Volume } from "../volume/volume.ts";
import { blockKey, type NamedBlock, placeOn, readOf } from "./named-block.ts";

interface Reserved {
  readonly named: NamedBlock;
  readonly read: BlockRead;
  readonly copy: number;
  readonly kib: number;
}

/** Where a block goes: the key of the block, and its new place. */
export type Brought = ReadonlyMap<string, { readonly copy: number; readonly kib: number }>;

/** True when another copy should take over what copy `index` holds, or is owed, of the narrow block named there. */
export function needsHeir(store: BlockStore, view: DataView, at: number, index: number): boolean {
  const bit = 1 << index;
  if (refType(view, at) !== RefType.DATA || !isNarrow(view, at) || (holdersOf(view, at) & bit) === 0) return false;
  return (store.inSync & ~holdersOf(view, at)) !== 0 || isLastHolder(view, at, index);
}

/** True when no other copy has a place for the block. */
export const isLastHolder = (view: DataView, at: number, index: number): boolean =>
  (placedOn(view, at) & ~(1 << index)) === 0;

/** What looking at the block costs of a step's budget that is counted in refs: 1,024 of them are 8 MiB. */
export const handoverCost = (view: DataView, at: number): number => Math.ceil(refSizeBytes(view, at) / (8 * KIB));

/** Brings blocks to copies in sync that have none of them, and lets `enter` put the new places into the tree, in one operation. */
export async function handOver(
  volume: Volume,
  blocks: readonly NamedBlock[],
  enter: (brought: Brought) => ReadonlySet<string>,
): Promise<void> {
  const { store, copies } = volume;
  const reserved = await volume.untilLoaded(() => reserve(store, blocks));
  const end = (entered: ReadonlySet<string>): void => {
    for (const { named, copy, kib } of reserved.splice(0)) {
      const freemap = store.freemaps[copy] as Freemap;
      freemap.endReservation(kib, named.sizeBytes / KIB, entered.has(blockKey(named)));
    }
  };
  try {
    await copies.readBlocks(reserved.map(({ read }) => read));
    const good = reserved.filter(({ read }) => read.error === undefined);
    await copies.writeBlocks(good.map(({ read, copy, kib }) => ({ pointers: placeOn(copy, kib), bytes: read.target })));
    await copies.flush();
    await volume.maintain(() => {
      const brought = new Map(
        good.filter(({ copy }) => isUsable(volume, copy)).map((each) => [blockKey(each.named), each]),
      );
      // Bitmap and pointers change in the same step: no commit may come between them.
      end(enter(brought));
    });
  } finally {
    end(new Set());
  }
}

/** Still in sync, and it flushed what was written to it. */
function isUsable({ store, copies }: Volume, index: number): boolean {
  return (store.inSync & (1 << index)) !== 0 && copies.copy(index)?.failure === undefined;
}

/** Places for those of the blocks that there is room for. May throw MISS before anything is reserved. */
function reserve(store: BlockStore, blocks: readonly NamedBlock[]): Reserved[] {
  const reserved: Reserved[] = [];
  const room = { freeKib: (copy: number): number => store.freemaps[copy]?.freeKib ?? 0 };
  try {
    for (const named of blocks) {
      for (const copy of inOrder(store.inSync & ~named.holders, countBits(named.holders), room)) {
        const kib = (store.freemaps[copy] as Freemap).reserve(named.sizeBytes / KIB);
        if (kib === NO_ROOM) continue;
        reserved.push({ named, read: readOf(named), copy, kib });
        break;
      }
    }
  } catch (error) {
    for (const { named, copy, kib } of reserved) {
      (store.freemaps[copy] as Freemap).endReservation(kib, named.sizeBytes / KIB, false);
    }
    throw error;
  }
  return reserved;
}
