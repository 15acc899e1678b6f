// Freezing a copy that the volume can't do without, or one node of it: no call reaches it until it is thawed. What another
// copy can serve goes on; everything else waits, commits above all, and nothing fails for it. Its devices stay open and
// locked. It lives in memory only: whoever opens the volume anew finds a copy like any other.
// Invariants: I2 (the copy stays in sync, so nothing is acknowledged without it), I11 (before it is written to again it is made
// sure that it is still ours).

import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/thrown.ts";
import { withinLimit } from "../base/time-limit.ts";
import type { Copy } from "../copies/copy.ts";
import { CopiesError } from "../copies/errors.ts";
import { type ConnectionReport, DeviceError } from "../device/device.ts";
import { OpenError } from "../device/open-error.ts";
import type { Volume } from "../volume/volume.ts";

/** Calls under way on a node that is to be still may take so long. */
const STILL_MS_MAX = 10_000;
/** To make sure that a copy is still ours takes a while, a lease if there is any doubt. */
const THAW_MS_MAX = 60_000;
/** A node whose server is back is connected again within this time. */
const CONNECT_MS_MAX = 3000;
const CONNECT_POLL_MS = 100;
/** What the operator can do about a copy that the volume can't do without and that is not ours any more. */
const DEAD_END = "it stays frozen; unmount and mount again, without what waits for it";

/**
 * Freezes copy `index`, or the node at a position of it. When this resolves nothing is under way there, and what was written
 * there is durable. Throws CopiesError, or FsError EROFS when the volume can only be read, with nothing changed; DeviceError when
 * the copy fails.
 */
export async function freeze(volume: Volume, index: number, node?: number): Promise<void> {
  const copy = presentCopy(volume, index);
  volume.refuseReadOnly();
  // What is durable already need not wait. With a frozen copy there is no commit.
  if (volume.copies.frozen.length === 0) await volume.forceCommit();
  // Nothing goes to it any more, and nobody would thaw it.
  if (copy.failure !== undefined) throw copy.failure;
  const nodes = concerned(copy, node).filter((position) => !copy.frozenNodes.includes(position));
  const { clock } = volume.copies;
  try {
    await withinLimit(copy.freeze(nodes), { clock, ms: STILL_MS_MAX }, () => {
      return new CopiesError("busy", copy.name, "calls on it are still under way; try again when its device answers");
    });
  } catch (error) {
    await thawInTime(volume, copy, nodes);
    throw error;
  }
  if (copy.failure !== undefined) throw copy.failure;
}

/**
 * Lets everything go on that waited for copy `index`, or for the node at a position of it. Throws CopiesError or DeviceError
 * when it stays frozen, because its server is not there or it is not sure to be ours still. One that is not ours any more, and can be
 * done without, fails.
 */
export async function thaw(volume: Volume, index: number, node?: number): Promise<void> {
  const copy = presentCopy(volume, index);
  const nodes = heldTogether(copy, node).filter((position) => copy.frozenNodes.includes(position));
  if (nodes.length === 0)
    throw new CopiesError(
      "not-begun",
      copy.name,
      `${node === undefined ? "it" : `node ${index}/${node}`} is not frozen`,
    );
  try {
    await Promise.all(nodes.map((position) => connected(copy, position, volume.copies.clock)));
    await volume.thaw(copy, nodes);
  } catch (error) {
    if (!(error instanceof CopiesError) || error.kind !== "divergent") throw error;
    if (volume.members.isNeeded(index))
      throw new CopiesError(error.kind, `copy ${index}`, `${error.message}; ${DEAD_END}`);
    giveUp(volume, copy, error);
  }
  if (volume.copies.fenced !== undefined) throw volume.copies.fenced;
  if (copy.failure !== undefined) throw copy.failure;
}

/** Lets everything go on, for a volume that is to be closed: a copy that can't be thawed fails. */
export async function thawAll(volume: Volume): Promise<void> {
  for (const copy of volume.copies.frozen) {
    await thawInTime(volume, copy, copy.frozenNodes).catch((error: unknown) => giveUp(volume, copy, error));
  }
}

function giveUp({ copies }: Volume, copy: Copy, error: unknown): void {
  copies.giveUp(copy, new DeviceError(copy.name, "write", 0, "ESTALE", messageOf(error)));
}

/** Its device may not answer when it is to be made sure that it is still ours: then it is thawed as soon as it does. */
function thawInTime(volume: Volume, copy: Copy, nodes: readonly number[]): Promise<void> {
  return withinLimit(volume.thaw(copy, nodes), { clock: volume.copies.clock, ms: THAW_MS_MAX }, () => {
    return new CopiesError("busy", copy.name, "its device does not answer; it stays frozen until it does");
  });
}

/** Refuses what takes a commit while there can be none. Throws CopiesError. */
export function refuseFrozen(volume: Volume): void {
  const [copy] = volume.copies.frozen;
  if (copy === undefined) return;
  throw new CopiesError("frozen", copy.name, `copy ${copy.index} is frozen; h2ts resume DIR ${copy.index} first`);
}

function presentCopy(volume: Volume, index: number): Copy {
  const copy = volume.copies.copy(index);
  if (copy !== undefined) return copy;
  throw new CopiesError("missing-copy", `copy ${index}`, "is not here; there is nothing to freeze or resume");
}

/** Without the first node of a copy that other hosts may reach there is no heartbeat, and so nothing is written to the others. */
function concerned(copy: Copy, node: number | undefined): number[] {
  const positions = positionsOf(copy, node);
  return !copy.device.exclusive && positions.includes(0) ? positionsOf(copy, undefined) : positions;
}

/** What is frozen without its heartbeat goes on with that only. */
function heldTogether(copy: Copy, node: number | undefined): number[] {
  const positions = concerned(copy, node);
  const isSilent = !copy.device.exclusive && copy.frozenNodes.includes(0);
  return isSilent ? positionsOf(copy, undefined) : positions;
}

/** All positions of a copy, or the one given. Throws CopiesError for a node that it does not have. */
export function positionsOf(copy: Copy, node: number | undefined): number[] {
  const positions = [...copy.nodes.keys()];
  if (node === undefined) return positions;
  if (positions.includes(node)) return [node];
  const has = positions.length === 1 ? "only node 0" : `nodes 0 to ${positions.length - 1}`;
  throw new CopiesError("syntax", `copy '${copy.index}/${node}'`, `copy ${copy.index} has ${has}`);
}

/** Resolves when a remote node has its connection: what is held would run into its time limit, or fail, otherwise. */
async function connected(copy: Copy, position: number, clock: Clock): Promise<void> {
  const device = copy.nodes[position]?.device;
  const connection = (): ConnectionReport | undefined => device?.report?.()?.connection;
  for (let waitedMs = 0; connection()?.state === "reconnecting"; waitedMs += CONNECT_POLL_MS) {
    if (waitedMs >= CONNECT_MS_MAX) {
      const name = device?.name ?? copy.name;
      throw new OpenError(
        name,
        "open",
        "ENOTCONN",
        "its server does not answer; it stays frozen, try again when it does",
      );
    }
    await new Promise<void>((resolve) => clock.after(CONNECT_POLL_MS, resolve));
  }
  const { state, lastError = "" } = connection() ?? {};
  if (state === "given-up") throw new CopiesError("divergent", device?.name ?? copy.name, `was given up: ${lastError}`);
}
