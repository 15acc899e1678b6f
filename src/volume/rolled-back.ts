// A copy whose ring is exactly one root behind missed only the last root write, or it was rolled back by one commit: its roots
// look the same. What tells the two apart are the blocks that the newest root names and its own does not: the first has them,
// since every block is flushed before a root is written (I2), the second lacks at least one. So they are read, before the
// copy counts for anything (I1, I6).
// A place that the copy's own root has in use was not given out since (I3): the block there is as old as that root, and with
// it all that is below it. That bounds the work by what the last commit wrote. Nothing is written here: a crash on the way
// leaves everything as it was.

import type { Copy } from "../copies/copy.ts";
import { isOneBehind } from "../copies/lineage.ts";
import type { CopySet } from "../copies/copy-set.ts";
import type { LoneCopy } from "../copies/lone-copy.ts";
import type { RingSet } from "../copies/ring-set.ts";
import { ringRoots } from "../copies/ring-slots.ts";
import { BLOCKREF_BYTES, refIsBare, refKey, refPointer, refType, RefType } from "../format/blockref.ts";
import { FREEMAP_LEAF_KIB } from "../format/freemap.ts";
import { KIB } from "../format/geometry.ts";
import { ROOT_SUPER_OFFSET, rootFreemapOffset } from "../format/root-block.ts";
import { type Block, itemTypeAt } from "../tree/block.ts";
import { BufferPool } from "../tree/buffer-pool.ts";
import { type BlockSource, cacheKeyOf, Loader } from "../tree/loader.ts";
import { isNamedBy } from "../tree/named-by.ts";
import { holdsRefs, refRuns } from "../tree/runs.ts";
import type { BlockRules } from "../tree/validate.ts";

/** Blocks read at once: a few MiB. */
const BATCH_BLOCKS = 128;

/** A ref of which the block is to be read. */
interface Named {
  readonly holder: Block;
  readonly at: number;
}

/** Bit for each copy that is one root behind `newest`, a root image, and lacks something that names on it. */
export async function rolledBackCopies(
  rings: RingSet,
  newest: Block,
  imageBlock: (bytes: Uint8Array) => Block,
  rules: BlockRules,
): Promise<number> {
  let mask = 0;
  for (const ring of rings.rings) {
    const { copy } = ring;
    const [own] = ringRoots(ring);
    const counts = copy.standing === "in-sync" || copy.standing === "stale";
    if (own === undefined || !counts || !isOneBehind(ring, newest.view)) continue;
    const older = imageBlock(own.image.slice());
    if (!(await holdsNewest(copy, older, newest, rings.copies, rules))) mask |= copy.bit;
  }
  return mask;
}

async function holdsNewest(
  copy: Copy,
  older: Block,
  newest: Block,
  others: CopySet,
  rules: BlockRules,
): Promise<boolean> {
  const used = await placesSeenInUse(others.alone(copy), older, rules);
  const isOld = (kib: number): boolean => {
    const words = used.get(Math.floor(kib / FREEMAP_LEAF_KIB));
    const at = kib % FREEMAP_LEAF_KIB;
    return words !== undefined && (((words[at >>> 5] as number) >>> (at & 31)) & 1) === 1;
  };
  // No tree that fits on the copy has more: a crafted one can't keep us for longer (I12).
  let leftKib = copy.sizeKib;
  const wanted = ({ holder: { view }, at }: Named): boolean => {
    const kib = refPointer(view, at, copy.index);
    // What the copy is owed is none of its promises; below, there may be some.
    if (kib === 0) return holdsRefs(refType(view, at));
    return !isOld(kib);
  };
  return walk(newest, mixedSource(copy, others), rules, wanted, (_named, block) => {
    leftKib -= (block?.sizeBytes ?? 0) / KIB;
    return block !== undefined && leftKib > 0;
  });
}

/** Reads from `copy` alone what has a place there, the rest from any. */
function mixedSource(copy: Copy, others: CopySet): BlockSource {
  const alone = others.alone(copy);
  return {
    readBlocks: async (requests) => {
      const placed = requests.filter(({ pointers }) => pointers[copy.index] !== 0);
      const rest = requests.filter(({ pointers }) => pointers[copy.index] === 0);
      await Promise.all([alone.readBlocks(placed), others.readBlocks(rest)]);
    },
  };
}

/** The bitmap of a copy as its own root has it: what can't be read counts as free. */
async function placesSeenInUse(alone: LoneCopy, root: Block, rules: BlockRules): Promise<Map<number, Uint32Array>> {
  const leaves = new Map<number, Uint32Array>();
  const own = rootFreemapOffset(alone.copy.index);
  const wanted = ({ holder, at }: Named): boolean => holder !== root || at === own;
  await walk(root, alone, rules, wanted, ({ holder, at }, block) => {
    if (block?.type === RefType.FREEMAP) {
      leaves.set(refKey(holder.view, at), new Uint32Array(block.bytes.slice().buffer));
    }
    return true;
  });
  return leaves;
}

/**
 * Reads the blocks that `wanted` lets through, each below the one that names it; `visit` is told of each, undefined when it
 * could not be read. False as soon as `visit` says so.
 */
async function walk(
  root: Block,
  source: BlockSource,
  rules: BlockRules,
  wanted: (named: Named) => boolean,
  visit: (named: Named, block: Block | undefined) => boolean,
): Promise<boolean> {
  const loader = new Loader(source, rules, new BufferPool());
  const pending = refsIn(root).filter(wanted);
  while (pending.length > 0) {
    const batch = pending.splice(-BATCH_BLOCKS);
    const arrived = new Map<number, Block>();
    for (const { holder, at } of batch) {
      loader.queue(cacheKeyOf(holder.view, at), holder, at, itemTypeAt(holder, at, ROOT_SUPER_OFFSET), true);
    }
    await loader.load(
      (block) => arrived.set(block.cacheKey, block),
      () => undefined,
    );
    for (const named of batch) {
      const read = arrived.get(cacheKeyOf(named.holder.view, named.at));
      // Another ref of the batch may name the same place; what is there is the block of one of them at most.
      const block = read !== undefined && isNamedBy(read, named.holder, named.at) ? read : undefined;
      if (!visit(named, block)) return false;
      if (block !== undefined && holdsRefs(block.type)) pending.push(...refsIn(block).filter(wanted));
    }
  }
  return true;
}

function refsIn(holder: Block): Named[] {
  const found: Named[] = [];
  for (const { at, refs } of refRuns(holder)) {
    for (let ref = at; ref < at + refs * BLOCKREF_BYTES; ref += BLOCKREF_BYTES) {
      if (!refIsBare(holder.view, ref)) found.push({ holder, at: ref });
    }
  }
  return found;
}
