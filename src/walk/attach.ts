// A new copy of a volume in use, beside the others or in the place of one of them. Nothing in the tree is marked for it: a
// null pointer is owed to it by itself (I8). A crash before its first root leaves no new member; after that, one that is
// caught up at the next mount. How many copies are needed changes only with the root it joins by (I2).

import { type Random, SystemRandom } from "../base/random.ts";
import type { Copy } from "../copies/copy.ts";
import { CopiesError } from "../copies/errors.ts";
import { rowSizesKib } from "../copies/layout.ts";
import { membersWith, stayingMembers } from "../copies/membership.ts";
import { disownPrepared, prepareCopy } from "../copies/new-copy.ts";
import { emptyRing } from "../copies/ring.ts";
import type { OpenTarget } from "../copies/targets.ts";
import { COPIES_MAX } from "../format/geometry.ts";
import { MemberFlag } from "../format/last-seen.ts";
import { rootLastSeen } from "../format/root-members.ts";
import { VERSION_BYTES } from "../format/version-chain.ts";
import type { Volume } from "../volume/volume.ts";

export interface AttachOptions {
  /** Index of the copy whose place the new one takes once it is complete; that one serves until then. */
  readonly replaces?: number;
  /** For identities; the system's unless given. */
  readonly random?: Random;
}

/**
 * Formats the open devices of `target` as a new copy and makes it a member that is being caught up, or dropped already if
 * its devices failed in that very commit. They belong to the volume when this resolves, to the caller when it throws
 * CopiesError or DeviceError, or FsError EROFS before anything was written.
 */
export async function attach(volume: Volume, target: OpenTarget, options: AttachOptions = {}): Promise<Copy> {
  // Whatever can be said at once is, and once more after a lease in which much may change.
  refuseAtOnce(volume, target, options);
  await volume.refuseInUse(target);
  const index = refuseAtOnce(volume, target, options);
  const random = options.random ?? new SystemRandom();
  const identity = { volumeUuid: volume.uuid, label: volume.label, random };
  const copy = await prepareCopy(target, index, identity, volume.copies.clock);
  // Versions of roots that never were: the ones that whoever reads the ring with its first root alone will assume.
  const ring = emptyRing(copy, new Uint8Array(VERSION_BYTES), new Uint8Array(VERSION_BYTES));
  let isMember = false;
  const join = (): void => {
    // Another one may have got there first.
    if (freeIndex(volume, target.name) !== index) {
      throw new CopiesError("no-copy", target.name, "another copy was attached meanwhile; try again");
    }
    refuseReplacing(volume, options.replaces);
    volume.members.attach(copy, options.replaces);
    volume.rings.add(ring);
    isMember = true;
  };
  try {
    await volume.admit(copy);
    await volume.changeMembers(join);
    return copy;
  } catch (error) {
    if (!isMember) await giveBack(volume, copy);
    throw error;
  }
}

/** What is wrong without a look at the target's content. Returns the index that the new copy gets. */
function refuseAtOnce(volume: Volume, { name, devices }: OpenTarget, { replaces }: AttachOptions): number {
  volume.refuseReadOnly();
  rowSizesKib({ name, nodes: devices });
  refuseReplacing(volume, replaces);
  return freeIndex(volume, name);
}

/** What was prepared does not join. Its headers say that it is a copy which the volume never had, or has elsewhere. */
async function giveBack(volume: Volume, copy: Copy): Promise<void> {
  await volume.dismiss(copy);
  const nodes = copy.nodes.map(({ device }) => device);
  await disownPrepared(copy.name, volume.copies.clock, nodes);
}

/** The lowest index that no pointer in the tree can be about. */
function freeIndex(volume: Volume, name: string): number {
  for (let index = 0; index < COPIES_MAX; index++) if ((volume.members.all & (1 << index)) === 0) return index;
  throw new CopiesError(
    "too-many",
    name,
    `the volume has ${COPIES_MAX} copies, as many as there can be; detach one first and wait until it is gone`,
  );
}

function refuseReplacing(volume: Volume, index: number | undefined): void {
  if (index === undefined) return;
  const { view } = volume.rootImage;
  const name = `copy ${index}`;
  if ((stayingMembers(view) & (1 << index)) === 0) {
    throw new CopiesError("no-copy", name, "is no copy of the volume, or leaves it already; it can't be replaced");
  }
  const replacing = membersWith(view, MemberFlag.REPLACING);
  for (let other = 0; other < COPIES_MAX; other++) {
    if ((replacing & (1 << other)) === 0 || rootLastSeen(view, other)?.replaces !== index) continue;
    throw new CopiesError("no-copy", name, `is being replaced by copy ${other} already`);
  }
}
