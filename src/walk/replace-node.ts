// One node of a row moves to another device while the volume is in use. The copy leaves the in-sync set, goes on with the new
// device among its other nodes, which stay open throughout, and is brought only what lay on that node: pointers into its range
// are cleared without a look, everything else it has counts as before (I6, I8). What the old device holds is left as it is until
// the copy is complete, so that its last complete state is not lost before (I7). Narrow blocks that are on it alone go to other
// copies first: once while the copy is in use, which is where this is refused, and once more when it gets nothing any more. Where
// that fails the copy goes on with the devices it had.
// The root says from the start which nodes make up the copy, and that it is not to be trusted until it is complete: whichever of the
// two devices it is mounted with after a crash, every block is checked first; with the old one at any time.

import { type Random, SystemRandom } from "../base/random.ts";
import { withinLimit } from "../base/time-limit.ts";
import { randomUuid, type Uuid } from "../base/uuid.ts";
import type { Copy } from "../copies/copy.ts";
import { CopiesError } from "../copies/errors.ts";
import { writeHeaders } from "../copies/layout.ts";
import { disown, disownPrepared } from "../copies/new-copy.ts";
import { freshCopy } from "../copies/reopen.ts";
import type { Ring } from "../copies/ring.ts";
import { rowRefusal } from "../copies/target-nodes.ts";
import type { OpenTarget } from "../copies/targets.ts";
import { type BlockDevice, ContentLostError } from "../device/device.ts";
import { Range, SharedDevice } from "../device/range.ts";
import { Row } from "../device/row.ts";
import { FORMAT_VERSION, NO_FEATURES } from "../format/features.ts";
import { KIB, NODE_HEADER_AREA_BYTES, RING_AREA_KIB } from "../format/geometry.ts";
import type { NodeHeader } from "../format/node-header.ts";
import { cursorCopy } from "../format/revalidate-cursor.ts";
import { rowOf } from "../format/copy-row.ts";
import { MemberFlag } from "../format/last-seen.ts";
import { rootRevalidateCursor, setRootRevalidateCursor } from "../format/root-block.ts";
import { rootLastSeen, rootMemberFlags, setRootMemberFlags, setRootRow } from "../format/root-members.ts";
import type { Volume } from "../volume/volume.ts";
import { claimed, inTurn, rejoin } from "./bring-back.ts";
import type { Caretaker } from "./caretaker.ts";
import { evacuateNode, type Leaving } from "./evacuate-node.ts";
import { positionsOf } from "./freeze.ts";
import { LastWord, refuseLeaving } from "./meanwhile.ts";
import { afterRefusal } from "./replace-refused.ts";
import { inTime } from "./take-out.ts";

/** The old device may be dying: giving it its leave is not waited for longer than this. */
const RETIRE_MS_MAX = 10_000;

/**
 * Puts the open device of `target`, whose content is lost, in the place of the node at `position` of copy `index`. Resolves when the
 * copy is being caught up with it. `abandon`: what is on the node alone and can't be brought elsewhere is given up. Throws CopiesError
 * or DeviceError; the device is the caller's to close then.
 */
export function replaceNode(
  volume: Volume,
  caretaker: Caretaker,
  which: { readonly index: number; readonly position: number; readonly abandon?: boolean },
  target: OpenTarget,
  random: Random = new SystemRandom(),
): Promise<void> {
  const { index, position, abandon = false } = which;
  const word = new LastWord(volume, index);
  const work = async (): Promise<void> => {
    // Whatever can be said at once is, and once more after a lease in which much may change.
    fittingFor(volume, which, target);
    await volume.refuseInUse(target);
    const { old, device } = fittingFor(volume, which, target);
    const leaving = { copy: old, position, hasFailed: () => hasFailed(old, position), abandon };
    await evacuateNode(volume, caretaker, leaving);
    await noteRow(volume, word, old);
    // It took its time to come here.
    await volume.refuseInUse(target);
    const nodeUuid = randomUuid(random);
    const node = await volume.preparing(target, prepareNode(volume, old, position, device, nodeUuid));
    const wasActive = old.active;
    const exchange = { leaving, node, name: target.name, nodeUuid };
    const { fresh, ring } = await exchanged(volume, caretaker, word, exchange).catch(async (error: unknown) => {
      // Beside the old device, which says of itself that it is the same node, it would be refused at the next mount.
      await disownPrepared(target.name, volume.copies.clock, [node]);
      throw wasActive ? await afterRefusal(volume, caretaker, old, error) : error;
    });
    await rejoin(volume, caretaker, fresh, ring, {});
  };
  return inTurn(volume, () => caretaker.replacing(index, work));
}

/** What is said of a device that can't be reached. */
const UNREACHED: ReadonlySet<string> = new Set(["ENOTCONN", "ESTALE"]);

/**
 * The node itself gave the copy up. One that is only late, or can't be reached, or whose neighbour in the row failed, may still have
 * everything it alone held. So may one whose link was given up, for whatever reason: nothing is read by that, but by a new one.
 */
function hasFailed({ failure, stalled, nodes }: Copy, position: number): boolean {
  if (failure === undefined || stalled || UNREACHED.has(failure.code)) return false;
  const device = nodes[position]?.device;
  return failure.device === device?.name && device.report?.()?.connection?.state !== "given-up";
}

interface Exchange {
  readonly leaving: Leaving;
  readonly node: Range;
  readonly name: string;
  readonly nodeUuid: Uuid;
}

/** Takes the copy out of use; returns it over the new device and the other ones, with its ring. */
async function exchanged(
  volume: Volume,
  caretaker: Caretaker,
  word: LastWord,
  { leaving, node, name, nodeUuid }: Exchange,
): Promise<{ readonly fresh: Copy; readonly ring: Ring }> {
  const { copy: old, position } = leaving;
  await volume.changeMembers(() => {
    word.refuseOther(old);
    leave(volume, old);
  });
  // What came to lie on it until then. From here on it gets nothing any more.
  const lost = await evacuateNode(volume, caretaker, leaving);
  const nodeUuids = old.nodeUuids.with(position, nodeUuid);
  await volume.changeMembers(() => {
    word.refuseOther(old);
    giveUpNode(volume, old, nodeUuids);
  });
  if (lost !== undefined) caretaker.note(lost);
  await caretaker.stop(old.index);
  // What is still under way on the old device lands nowhere else.
  const others = [...old.nodes.keys()].filter((other) => other !== position);
  await inTime(old, old.still(others), volume.copies.clock);
  const fresh = composed(old, position, node, name, nodeUuids);
  const ring = await claimed(volume, fresh, { word, old });
  // Only now: what it held may have been lost as late as in the last calls on it.
  const isTrusted = !old.untrusted && !(old.failure instanceof ContentLostError);
  if (isTrusted && fresh.standing === "stale") fresh.lostNode = position;
  return { fresh, ring };
}

/** The copy whose node can be replaced by the device of `target`, and that. Throws CopiesError, FsError EROFS. */
function fittingFor(
  volume: Volume,
  { index, position }: { readonly index: number; readonly position: number },
  target: OpenTarget,
): { readonly old: Copy; readonly device: BlockDevice } {
  volume.refuseReadOnly();
  const old = replaceable(volume, index, position);
  const device = fitting(old, position, target);
  volume.members.refuseIfNeeded(old);
  return { old, device };
}

/** The copy whose node can be replaced. */
function replaceable(volume: Volume, index: number, position: number): Copy {
  refuseLeaving(volume, index);
  const copy = volume.copies.copy(index);
  const instead = `h2ts replace DIR ${index} TARGET makes a new copy in its place`;
  const name = copy?.name ?? `copy ${index}`;
  const refuse = (detail: string): CopiesError => new CopiesError("not-replaceable", name, detail);
  if (copy === undefined || copy.released)
    throw refuse(`is not in use, so that its other nodes can't be gone on with; ${instead}`);
  positionsOf(copy, position);
  if (copy.nodes.length === 1) throw refuse(`copy ${index} is a single node; ${instead}`);
  const { standing, suspendedNode } = copy;
  if (suspendedNode !== undefined && suspendedNode !== position)
    throw new CopiesError(
      "suspended",
      name,
      `node ${index}/${suspendedNode} is suspended; h2ts resume DIR ${index} first`,
    );
  if (copy.active || standing === "faulted" || suspendedNode === position) return copy;
  throw refuse(`copy ${index} is ${standing}; ${instead}`);
}

function fitting(copy: Copy, position: number, { name, devices }: OpenTarget): BlockDevice {
  const [device] = devices;
  if (device === undefined || devices.length > 1)
    throw new CopiesError("syntax", name, "a node is one device, not a row of them");
  const refusal = rowRefusal(device.name);
  if (refusal !== undefined) throw refusal;
  const neededBytes = NODE_HEADER_AREA_BYTES + sizeOf(copy, position);
  if (device.sizeBytes >= neededBytes) return device;
  throw new CopiesError(
    "too-small",
    name,
    `has ${device.sizeBytes} bytes; node ${copy.index}/${position} takes ${neededBytes}`,
  );
}

const sizeOf = (copy: Copy, position: number): number => copy.nodes[position]?.device.sizeBytes ?? 0;

/** Makes `device` that node of the copy: what lay on it where the ring and the heartbeat will be is wiped. */
async function prepareNode(
  volume: Volume,
  copy: Copy,
  position: number,
  device: BlockDevice,
  nodeUuid: Uuid,
): Promise<Range> {
  const sizeBytes = sizeOf(copy, position);
  const range = {
    copyUuid: copy.uuid,
    nodeUuid,
    copyIndex: copy.index,
    nodePosition: position,
    nodeCount: copy.nodes.length,
    startKib: NODE_HEADER_AREA_BYTES / KIB,
    sizeKib: sizeBytes / KIB,
    copyStartKib: (copy.nodes[position]?.startBytes ?? 0) / KIB,
  };
  const header: NodeHeader = {
    formatVersion: FORMAT_VERSION,
    features: NO_FEATURES,
    volumeUuid: volume.uuid,
    label: volume.label,
    ranges: [range],
  };
  const node = new Range(new SharedDevice(device), NODE_HEADER_AREA_BYTES, sizeBytes);
  const nothing = new Uint8Array(Math.min(sizeBytes, RING_AREA_KIB * KIB));
  if (position === 0) await node.write(0, [nothing]);
  if (position === copy.nodes.length - 1) await node.write(sizeBytes - nothing.length, [nothing]);
  await writeHeaders([device], [header]);
  return node;
}

/**
 * With any other nodes than these nobody takes the copy for what it is: durable before another device says of itself that it is one of
 * them. Until a node of a copy was replaced no root says that.
 */
async function noteRow(volume: Volume, word: LastWord, copy: Copy): Promise<void> {
  const { view } = volume.rootImage;
  if (rootLastSeen(view, copy.index)?.row !== undefined) return;
  await volume.changeMembers(() => {
    word.refuseOther(copy);
    setRootRow(view, copy.index, rowOf(copy.nodeUuids));
  });
}

/** The copy is out of use. Between two commits. */
function leave({ members }: Volume, copy: Copy): void {
  members.refuseIfNeeded(copy);
  // Not offline: what it holds alone is still read from it, and brought to others.
  if (copy.active) members.drop(copy, "faulted", "one of its nodes is being replaced");
}

/** The copy is made up of other nodes, and not trusted before it is complete again. Between two commits. */
function giveUpNode({ rootImage: { view } }: Volume, copy: Copy, nodeUuids: readonly Uuid[]): void {
  setRootRow(view, copy.index, rowOf(nodeUuids));
  setRootMemberFlags(view, copy.index, rootMemberFlags(view, copy.index) | MemberFlag.UNTRUSTED);
  if (cursorCopy(rootRevalidateCursor(view)) === copy.index) setRootRevalidateCursor(view, 0);
}

/** The same copy over the same devices but one. */
function composed(old: Copy, position: number, node: Range, name: string, nodeUuids: readonly Uuid[]): Copy {
  const devices = old.nodes.map(({ device }, at) => (at === position ? node : device));
  const targets = old.targets.map((target, at) => (at === position ? name : target));
  const fresh = freshCopy(old, { device: new Row(devices), targets, nodeUuids });
  const replaced = old.nodes[position]?.device;
  const isOpen = replaced !== undefined && old.suspendedNode === undefined;
  fresh.replacedNodes = isOpen ? [...old.replacedNodes, replaced] : old.replacedNodes;
  return fresh;
}

/** The copy is complete without the devices whose places were taken: nothing of the volume is on them from now on. */
export async function retireReplaced(volume: Volume, copy: Copy): Promise<void> {
  const { replacedNodes } = copy;
  copy.replacedNodes = [];
  copy.lostNode = undefined;
  const { clock } = volume.copies;
  const retire = async (node: BlockDevice): Promise<void> => {
    const over = disown(node).finally(() => node.close());
    // Where it does not answer there is nothing to be done.
    await withinLimit(over, { clock, ms: RETIRE_MS_MAX }, () => new Error("late")).catch(() => undefined);
  };
  await Promise.all(replacedNodes.map(retire));
}
