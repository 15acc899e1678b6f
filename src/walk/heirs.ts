// Narrow blocks of a copy, or a node, on its way out are brought to another copy in sync before the pointer to it is cleared: written to
// reserved places, flushed, and only then entered (I1, I8). What was brought is done; a walk that is stopped goes on with the rest.

import { bitCount } from "../base/bits.ts";
import type { BlockRead } from "../copies/block-io.ts";
import type { Copy } from "../copies/copy.ts";
import { RefType, refSizeBytes, refType } from "../format/blockref.ts";
import { KIB } from "../format/geometry.ts";
import { holdersOf, inOrder, isNarrow, placedOn } from "../tree/narrow.ts";
import type { BlockStore } from "../tree/store.ts";
import type { Volume } from "../volume/volume.ts";
import { blockKey, type NamedBlock, namedBlock, placeOn, readOf } from "./named-block.ts";
import {
  giveBack,
  isStillThere,
  NONE,
  type Reserved,
  reserveAndRead,
  reservePlaces,
  useReserved,
} from "./reserved-places.ts";
import type { Place, Sweep } from "./sweep.ts";

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
export const heirCost = (view: DataView, at: number): number => Math.ceil(refSizeBytes(view, at) / (8 * KIB));

/** What became of the blocks that were to be brought. */
export interface Outcome {
  /** Keys of the blocks that have a new place. */
  readonly entered: ReadonlySet<string>;
  /** Keys of those that no copy could read, as far as they were tried. */
  readonly unread: ReadonlySet<string>;
}

/**
 * Brings blocks to copies in sync that have none of them, and lets `enter` put the new places into the tree, in one operation, which
 * may be undone and made again. `readsAll`: those that have no room are tried to be read, too.
 */
export async function bringToHeirs(
  volume: Volume,
  blocks: readonly NamedBlock[],
  enter: (brought: Brought) => ReadonlySet<string>,
  { readsAll }: { readonly readsAll: boolean },
): Promise<Outcome> {
  const { store, copies } = volume;
  const room = { freeKib: (copy: number): number => store.freemaps[copy]?.freeKib ?? 0 };
  const heirs = ({ holders }: NamedBlock): readonly number[] =>
    inOrder(store.inSync & ~holders, bitCount(holders), room);
  const reserve = (): Reserved[] => reservePlaces(store, blocks, heirs, { whileRoom: false });
  const roomless = new Map<NamedBlock, BlockRead>();
  const readToo = (reserved: readonly Reserved[]): BlockRead[] => {
    const placed = new Set(reserved.map(({ named }) => named));
    for (const named of blocks) if (!placed.has(named)) roomless.set(named, readOf(named));
    return [...roomless.values()];
  };
  const reserved = await reserveAndRead(volume, reserve, readsAll ? readToo : undefined);
  const tried = [...roomless, ...reserved.map(({ named, read }) => [named, read] as const)];
  const unread = new Set(tried.filter(([, { error }]) => error !== undefined).map(([named]) => blockKey(named)));
  try {
    const good = reserved.filter((place) => place.read.error === undefined && isStillThere(store, place));
    const writtenTo = copies.active;
    await copies.writeBlocks(good.map(({ read, copy, kib }) => ({ pointers: placeOn(copy, kib), bytes: read.target })));
    await copies.flush();
    const entered = await volume.maintain(() => {
      const brought = new Map(
        good.filter((place) => isUsable(volume, place, writtenTo)).map((each) => [blockKey(each.named), each]),
      );
      // Bitmap and pointers change in the same step: no commit may come between them.
      const found = enter(brought);
      useReserved(store, reserved, found);
      return found;
    });
    giveBack(store, reserved, entered);
    return { entered, unread };
  } finally {
    giveBack(store, reserved, NONE);
  }
}

/**
 * Enters the new places of narrow blocks met in the step of `sweep` from `from` on, and clears those of copy `index`. Returns their
 * keys. May throw MISS.
 */
export function enterHeirs(
  store: BlockStore,
  sweep: Sweep,
  from: Place,
  stepRefs: number,
  brought: Brought,
  index: number,
): ReadonlySet<string> {
  const entered = new Set<string>();
  sweep.step(from, stepRefs, (node, at) => {
    const key = isNarrow(node.block.view, at) ? blockKey(namedBlock(node.block, at)) : "";
    const place = brought.get(key);
    if (place === undefined) return 1;
    store.pointers.set(node.writable(), at, place.copy, place.kib);
    store.pointers.forget(node.writable(), at, index);
    entered.add(key);
    return 1;
  });
  return entered;
}

/** Its copy is one of those `writtenTo`, still in sync, and flushed what was written to it. */
function isUsable({ store, copies }: Volume, place: Reserved, writtenTo: readonly Copy[]): boolean {
  const copy = copies.copy(place.copy);
  if (copy === undefined || !writtenTo.includes(copy)) return false;
  return (store.inSync & copy.bit) !== 0 && copy.failure === undefined;
}
