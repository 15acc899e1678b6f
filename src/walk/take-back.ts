// Taking a copy back that was away (I6, I7): its last complete root becomes its anchor, durable before it gets its first
// block; everything the anchor names is kept from being given out until the copy is complete. From then on new writes go
// to it, and the resync walk brings the rest.

import type { Copy, Standing } from "../copies/copy.ts";
import { lastComplete } from "../copies/lineage.ts";
import type { Ring, RingRoot } from "../copies/ring.ts";
import { FREEMAP_LEAF_KIB } from "../format/freemap.ts";
import { rowOf } from "../format/copy-row.ts";
import { MemberFlag } from "../format/last-seen.ts";
import { rootCounters, rootRevalidateCursor, setRootRevalidateCursor } from "../format/root-block.ts";
import {
  rootLastSeen,
  rootMemberFlags,
  setRootMemberFlags,
  setRootRow,
  setRootTarget,
} from "../format/root-members.ts";
import { LEAF_WORDS, setBits } from "../freemap/leaf.ts";
import { cursorCopy } from "../format/revalidate-cursor.ts";
import type { Volume } from "../volume/volume.ts";
import { loggedPlaces } from "./logged-places.ts";
import { changedMeanwhile, refuseLeaving } from "./meanwhile.ts";
import { placesInUse } from "./places-in-use.ts";

export interface TakeBackOptions {
  /** The copy's earlier state is given up: nothing of it is kept. */
  readonly noAnchor?: boolean;
}

/** What a copy may be before it is caught up; one that is, with its anchor given up, begins again. */
const RETURNING: readonly Standing[] = ["stale", "unknown", "blank", "syncing"];

/**
 * Makes a copy at hand that is stale, unknown or blank one that is being caught up. Throws DeviceError when the copy can't be
 * read or written, CopiesError when something else was done with it meanwhile, FsError EROFS when the volume can only be read;
 * then it stays as it is.
 */
export async function takeBack(volume: Volume, ring: Ring, options: TakeBackOptions = {}): Promise<void> {
  const { copy } = ring;
  const was = copy.standing;
  volume.refuseReadOnly();
  if (!RETURNING.includes(was) || volume.copies.copy(copy.index) !== copy) throw changedMeanwhile(copy.name);
  volume.rings.add(ring);
  try {
    // One that is being caught up keeps what it has: nothing of that may be let go, not for a moment, while blocks go there.
    if (was !== "syncing" || options.noAnchor === true) await changeAnchor(volume, ring, options);
    await volume.changeMembers(() => {
      if (copy.failure !== undefined) throw copy.failure;
      // The operator may have taken it out, had it opened anew, or begun to detach it.
      refuseLeaving(volume, copy.index);
      if (copy.standing !== was || volume.copies.copy(copy.index) !== copy) throw changedMeanwhile(copy.name);
      beginSyncing(volume, copy);
    });
  } catch (error) {
    if (!copy.active) await releaseAnchor(volume, copy.index);
    throw error;
  }
}

/** Makes the last complete root of a copy its anchor, or gives that up; what is kept from being given out is that of no other. */
async function changeAnchor(volume: Volume, ring: Ring, { noAnchor }: TakeBackOptions): Promise<void> {
  const { copy } = ring;
  const anchor = noAnchor === true ? undefined : lastComplete(ring, volume.rootImage.view);
  if (anchor !== undefined && anchor !== ring.anchor) await volume.rings.writeAnchor(copy, anchor);
  if (anchor === undefined && ring.anchor !== undefined) await volume.rings.clearAnchor(copy);
  if (copy.failure !== undefined) throw copy.failure;
  await releaseAnchor(volume, copy.index);
  if (anchor !== undefined) await holdAnchor(volume, copy, anchor);
}

/** From the root that follows on blocks and roots are written to the copy. */
function beginSyncing(volume: Volume, copy: Copy): void {
  const { view } = volume.rootImage;
  const flags = rootMemberFlags(view, copy.index) & ~MemberFlag.OFFLINE;
  const isNew = rootLastSeen(view, copy.index)?.sequence === 0;
  const strange = !isNew && (copy.standing === "unknown" || copy.standing === "blank");
  // What was revalidated on it before says nothing of what it holds now.
  if (strange && cursorCopy(rootRevalidateCursor(view)) === copy.index) setRootRevalidateCursor(view, 0);
  copy.untrusted ||= strange;
  setRootMemberFlags(view, copy.index, copy.untrusted ? flags | MemberFlag.UNTRUSTED : flags);
  setRootTarget(view, copy.index, copy.name);
  // Whichever nodes it came back with, it is made of these from now on.
  if (rootLastSeen(view, copy.index)?.row !== undefined && copy.nodeUuids.length > 0)
    setRootRow(view, copy.index, rowOf(copy.nodeUuids));
  copy.restoreCounters(rootCounters(view, copy.index));
  copy.flushedTid = volume.store.tid - 1;
  copy.standing = "syncing";
  copy.noRoom = false;
  volume.members.align();
}

/** Keeps everything that `anchor` has in use on its copy from being given out, and what the log has that goes on from it. */
async function holdAnchor(volume: Volume, copy: Copy, anchor: RingRoot): Promise<void> {
  const freemap = volume.store.freemaps[copy.index];
  if (freemap === undefined) return;
  const leaves = await placesInUse(copy, anchor, volume.copies);
  for (const { kib, sizeKib } of await loggedPlaces(volume.copies.alone(copy), anchor.view)) {
    const index = Math.floor(kib / FREEMAP_LEAF_KIB);
    const words = leaves.get(index) ?? new Uint32Array(LEAF_WORDS);
    leaves.set(index, words);
    setBits(words, kib % FREEMAP_LEAF_KIB, sizeKib);
  }
  if (copy.lostNode !== undefined) leaveOutLost(copy, leaves);
  for (const [index, words] of leaves) {
    await volume.untilLoaded(() => freemap.anchor(index, words));
  }
}

/** What the anchor names on a node that was replaced is not there: its places are free. */
function leaveOutLost(copy: Copy, leaves: ReadonlyMap<number, Uint32Array>): void {
  for (const [index, words] of leaves) {
    for (let word = 0; word < words.length; word++) {
      if (copy.isLost(index * FREEMAP_LEAF_KIB + 32 * word)) words[word] = 0;
    }
  }
}

/** Lets go of what an anchor kept, as long as `isWanted`. */
export async function releaseAnchor(
  volume: Volume,
  copyIndex: number,
  isWanted: () => boolean = () => true,
): Promise<void> {
  const freemap = volume.store.freemaps[copyIndex];
  if (freemap === undefined) return;
  for (const index of freemap.anchoredLeaves) {
    await volume.untilLoaded(() => void (isWanted() && freemap.releaseAnchor(index)));
  }
}
