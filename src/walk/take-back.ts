// Taking a copy back that was away (I6, I7): its last complete root becomes its anchor, durable before it gets its first
// block; everything the anchor names is kept from being given out until the copy is complete. From then on new writes go
// to it, and the resync walk brings the rest.

import type { Copy } from "../copies/copy.ts";
import { LoneCopy } from "../copies/lone-copy.ts";
import { lastComplete } from "../copies/lineage.ts";
import type { Ring, RingRoot } from "../copies/ring.ts";
import { FREEMAP_LEAF_BYTES, FREEMAP_LEAF_KIB, leafCount } from "../format/freemap.ts";
import {
  MemberFlag,
  rootCounters,
  rootFreemapOffset,
  rootLastSeen,
  rootMemberFlags,
  rootRevalidateCursor,
  rowOf,
  setRootMemberFlags,
  setRootRevalidateCursor,
  setRootRow,
  setRootTarget,
} from "../format/root-block.ts";
import { refKey } from "../format/blockref.ts";
import { LEAF_WORDS, setBits } from "../freemap/leaf.ts";
import { cursorCopy } from "../format/revalidate-cursor.ts";
import { memberSizes } from "../volume/root-image.ts";
import type { Volume } from "../volume/volume.ts";
import { loggedPlaces } from "./logged-places.ts";
import { Walker, type WalkVisitor } from "./walker.ts";

export interface TakeBackOptions {
  /** The copy's earlier state is given up: nothing of it is kept. */
  readonly noAnchor?: boolean;
}

/**
 * Makes a copy at hand that is stale, unknown or blank one that is being caught up. Throws DeviceError when the copy can't be
 * read or written; then it stays as it was.
 */
export async function takeBack(volume: Volume, ring: Ring, options: TakeBackOptions = {}): Promise<void> {
  const { copy } = ring;
  const { view } = volume.rootImage;
  volume.rings.add(ring);
  const anchor = options.noAnchor === true ? undefined : lastComplete(ring, view);
  if (anchor !== undefined && anchor !== ring.anchor) await volume.rings.writeAnchor(copy, anchor);
  if (anchor === undefined && ring.anchor !== undefined) await volume.rings.clearAnchor(copy);
  if (copy.failure !== undefined) throw copy.failure;
  await releaseAnchor(volume, copy.index);
  if (anchor !== undefined) await holdAnchor(volume, copy, anchor);

  await volume.forceCommit(() => {
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
  });
}

/** Keeps everything that `anchor` has in use on its copy from being given out, and what the log has that goes on from it. */
async function holdAnchor(volume: Volume, copy: Copy, anchor: RingRoot): Promise<void> {
  const freemap = volume.store.freemaps[copy.index];
  if (freemap === undefined) return;
  const leaves = await leavesOf(copy, anchor);
  for (const { kib, sizeKib } of await loggedPlaces(copy, anchor.view)) {
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

/** Lets go of what an anchor kept. */
export async function releaseAnchor(volume: Volume, copyIndex: number): Promise<void> {
  const freemap = volume.store.freemaps[copyIndex];
  if (freemap === undefined) return;
  for (const index of freemap.anchoredLeaves) await volume.untilLoaded(() => freemap.releaseAnchor(index));
}

/**
 * The bitmap of a copy as one of its own roots has it, read from that copy alone. Where it can't be read, all may be in use:
 * what the anchor names is not given out because a block of its freemap has rotted meanwhile. Of a copy in doubt, whose last
 * state may be spoilt anyway, what can be told is kept, and it is caught up.
 */
async function leavesOf(copy: Copy, root: RingRoot): Promise<Map<number, Uint32Array>> {
  const leaves = new Map<number, Uint32Array>();
  const unread: number[] = [];
  let unknown = false;
  const visitor: WalkVisitor = {
    fault: () => void (unknown = true),
    misstamped: () => undefined,
    meet: () => true,
    enter: () => true,
    arrive: (node, { block }) => {
      if (block === undefined && node.level > 0) unknown = true;
      if (block === undefined && node.level === 0) unread.push(refKey(node.view, node.at));
      if (block !== undefined && node.level === 0 && block.byteLength === FREEMAP_LEAF_BYTES) {
        const bytes = new Uint8Array(block.buffer, block.byteOffset, FREEMAP_LEAF_BYTES).slice();
        leaves.set(refKey(node.view, node.at), new Uint32Array(bytes.buffer));
      }
      return true;
    },
  };
  const bounds = { sequence: root.sequence, copyKib: memberSizes(root.view), inSync: copy.bit };
  const tree = {
    kind: "freemap",
    owner: copy.index,
    view: root.view,
    at: rootFreemapOffset(copy.index),
    refs: 1,
  } as const;
  await new Walker(new LoneCopy(copy), bounds, visitor, { everyCopy: false }).walk([{ ...tree, holder: undefined }]);
  const inDoubt = copy.untrusted || copy.standing === "unknown" || copy.standing === "blank";
  if (inDoubt) return leaves;
  if (unknown) for (let index = 0; index < leafCount(copy.sizeKib); index++) unread.push(index);
  for (const index of unread) if (!leaves.has(index)) leaves.set(index, new Uint32Array(LEAF_WORDS).fill(0xffff_ffff));
  return leaves;
}
