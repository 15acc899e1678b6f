// Frozen nodes at rest: their server may be started anew and no longer know whose they were (I11). A node that was somebody
// else's meanwhile, or may have been, is gone on with once it is sure that nobody wrote to the volume there. Whoever opens a volume
// needs all nodes of a copy: as long as one was ours all the time, nobody did. Otherwise roots and log must be what they were:
// nobody writes anything durable without one of them (I1, I4).

import { equalBytes } from "../base/uuid.ts";
import type { Copy } from "../copies/copy.ts";
import { CopiesError } from "../copies/errors.ts";
import { ringOffsets } from "../copies/ring-set.ts";
import { ringRoots } from "../copies/ring-slots.ts";
import type { RowNode } from "../device/row.ts";
import { sha256 } from "../format/check.ts";
import { ROOT_BYTES } from "../format/root-block.ts";
import { readLog } from "../log/read-log.ts";
import type { Volume } from "../volume/volume.ts";

/** Lays these nodes of a copy, which are frozen and still, to rest. */
export async function layToRest(volume: Volume, copy: Copy, nodes: readonly number[]): Promise<void> {
  copy.stateAtRest = undefined;
  // One that is away can't be read, and was laid to rest when another one of its copy was ours.
  if (copy.frozenNodes.length === copy.nodes.length && copy.nodes.every(isOnServerOfOurs))
    copy.stateAtRest = await stateOf(volume, copy).catch(() => undefined);
  for (const position of nodes) if (copy.frozenNodes.includes(position)) copy.nodes[position]?.device.rest?.();
}

const isOnServerOfOurs = ({ device }: RowNode): boolean =>
  device.timesUnguarded !== undefined && device.report?.()?.connection?.state === "connected";

/**
 * Ends the rest of these nodes. Throws CopiesError `divergent` when another host wrote to the copy, or may have; DeviceError when
 * that can't be made sure.
 */
export async function wake(volume: Volume, copy: Copy, nodes: readonly number[]): Promise<void> {
  for (let times = timesUnguarded(copy), known = 0; times > known; times = timesUnguarded(copy)) {
    known = times;
    const state = copy.stateAtRest;
    if (state === undefined || !equalBytes(state, await stateOf(volume, copy)))
      throw new CopiesError("divergent", copy.name, "another host wrote to it while its server was away");
  }
  for (const position of nodes) copy.nodes[position]?.device.wake?.();
}

/** How often anybody may have had all of its nodes. 0: one of them was ours all the time. */
function timesUnguarded(copy: Copy): number {
  const times = copy.nodes.map(({ device }) => device.timesUnguarded ?? 0);
  return times.includes(0) ? 0 : times.reduce((sum, each) => sum + each, 0);
}

/** What tells whether anybody wrote to the copy as a volume: its ring, and the log that goes on from its newest root. */
async function stateOf({ rings }: Volume, copy: Copy): Promise<Uint8Array> {
  // Not through the gate, which holds it.
  const read = (offsetBytes: number, targets: readonly Uint8Array[]): Promise<void> =>
    copy.device.read(offsetBytes, targets);
  const slots = ringOffsets(copy).map(() => new Uint8Array(ROOT_BYTES));
  await Promise.all(ringOffsets(copy).map((offsetBytes, i) => read(offsetBytes, [slots[i] as Uint8Array])));
  const ring = rings.ring(copy.index);
  const root = ring === undefined ? undefined : ringRoots(ring)[0];
  const log = root === undefined ? undefined : await readLog(root.view, [{ copy, read }], true);
  return sha256(...slots, log?.stream ?? new Uint8Array(0));
}
