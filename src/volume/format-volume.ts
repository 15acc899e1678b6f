// Making a volume on formatted nodes: an empty tree with a root directory, committed three times, so that every slot of
// every ring holds a chained root from the start.

import { randomUuid, type Uuid } from "../base/uuid.ts";
import type { Random } from "../base/random.ts";
import type { CopySet } from "../copies/copy-set.ts";
import { minCopiesFor } from "../copies/membership.ts";
import { newRings } from "../copies/ring-set.ts";
import type { CheckType } from "../format/check.ts";
import { RefType } from "../format/blockref.ts";
import { BLOCKSET_REFS } from "../format/blockref.ts";
import { ROOT_SLOTS } from "../format/geometry.ts";
import { PFS_BYTES, ROOT_PFS_ID, initPfs } from "../format/pfs.ts";
import { ROOT_SUPER_OFFSET } from "../format/root-block.ts";
import { createRootImage } from "../format/root-create.ts";
import { setRootLastSeen } from "../format/root-members.ts";
import { Claim, Freemap } from "../freemap/freemap.ts";
import { PfsState } from "../tree/pfs-state.ts";
import { treeInsert } from "../tree/tree-edit.ts";
import { newStore } from "./open.ts";
import { imageBlock, rulesFor } from "./root-image.ts";
import { Members } from "./members.ts";
import { Volume, type VolumeOptions } from "./volume.ts";

export interface FormatOptions extends VolumeOptions {
  readonly volumeUuid: Uuid;
  readonly label: string;
  readonly checkType: CheckType;
  readonly random: Random;
  /** Owner of the root directory. */
  readonly uid: number;
  readonly gid: number;
}

/** Writes an empty volume to `copies`; it is durable, and open, when this resolves. */
export async function formatVolume(copies: CopySet, options: FormatOptions): Promise<Volume> {
  const rings = await newRings(copies, options.random);
  const epoch = randomUuid(options.random);
  const rootImage = imageBlock(
    createRootImage({
      volumeUuid: options.volumeUuid,
      label: options.label,
      epoch,
      copyCount: copies.copies.length,
      minCopies: minCopiesFor(copies.copies.length),
      checkType: options.checkType,
    }),
  );
  for (const copy of copies.copies) {
    setRootLastSeen(rootImage.view, copy.index, {
      copyUuid: copy.uuid,
      epoch,
      version: new Uint8Array(16),
      sequence: 0,
      sizeKib: copy.sizeKib,
      target: copy.targets.join("+"),
    });
  }
  const store = newStore(copies, rulesFor(rootImage.view), options.checkType, options);
  for (const copy of copies.copies) {
    store.freemaps[copy.index] = new Freemap(copy.index, copy.sizeKib, () => undefined);
    copy.flushedTid = store.tid - 1;
  }
  const members = new Members({ store, copies, rootImage }, options.random);
  store.attempt(Claim.ORDINARY, () => {
    const superRoot = { block: rootImage, at: ROOT_SUPER_OFFSET, refs: BLOCKSET_REFS };
    const { block, at } = treeInsert(store, superRoot, ROOT_PFS_ID);
    const pfs = store.create(block, at, RefType.PFS, PFS_BYTES);
    initPfs(pfs.bytes, pfs.view, ROOT_PFS_ID, randomUuid(options.random), "ROOT");
  });
  const state = new PfsState(store, rootImage);
  const volume = new Volume(
    { copies, store, state, rootImage, roots: rings, members },
    { ...options, readOnly: false },
  );
  volume.allowCommits();
  await volume.apply({
    op: "root",
    mode: 0o755,
    uid: options.uid,
    gid: options.gid,
    time: options.clock.now(),
  });
  for (let slot = 0; slot < ROOT_SLOTS; slot++) await volume.forceCommit();
  // A volume is not born degraded: whoever formats learns what failed.
  for (const copy of copies.copies) if (copy.failure !== undefined) throw copy.failure;
  return volume;
}
