// Whether another host has what lies on a device mounted, asked before a device that is not locked here is given to something else. What
// it holds may be given up, never what is in use (I11): its owner would notice nothing, go on, and have nothing left after its unmount.
// A free device costs a look at its header and one at each heartbeat; one that is there is watched for a lease, as at a mount. It lies
// on the first node of a copy: of a later node of a row nothing tells.

import { equalBytes, isZero } from "../base/uuid.ts";
import type { BlockDevice } from "../device/device.ts";
import { KIB } from "../format/geometry.ts";
import { HEARTBEAT_BYTES, HEARTBEAT_OFFSET_BYTES } from "../format/heartbeat.ts";
import type { NodeHeader } from "../format/node-header.ts";
import { CopiesError } from "./errors.ts";
import { readNodeHeader } from "./read-header.ts";

export const LEASE_MS_DEFAULT = 20_000;
export const BEATS_PER_LEASE = 4;

export interface WatchOptions {
  readonly leaseMs?: number;
  /** Lets so many milliseconds pass; what it rejects with ends the watch. */
  readonly wait: (durationMs: number) => Promise<void>;
  /** Bounds one look at the devices; it takes as long as it takes unless given. */
  readonly inTime?: <T>(look: Promise<T>) => Promise<T>;
}

interface Beat {
  readonly device: BlockDevice;
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/**
 * Rejects with CopiesError when another host uses one of these open devices, DeviceError when one can't be read. Nothing is written.
 */
export async function refuseInUse(devices: readonly BlockDevice[], options: WatchOptions): Promise<void> {
  const { leaseMs = LEASE_MS_DEFAULT, wait, inTime = (look) => look } = options;
  const reached = devices.filter(({ exclusive }) => !exclusive);
  const watched = (await inTime(Promise.all(reached.map(beatsOn)))).flat().filter(({ bytes }) => !isZero(bytes));
  if (watched.length === 0) return;
  for (let beat = 0; beat < BEATS_PER_LEASE; beat++) {
    await wait(leaseMs / BEATS_PER_LEASE);
    const now = await inTime(Promise.all(watched.map(({ device, offsetBytes }) => beatAt(device, offsetBytes))));
    // One that is given free meanwhile is nobody's from then on.
    const changed = watched.find(({ bytes }, i) => {
      const found = (now[i] as Beat).bytes;
      return !isZero(found) && !equalBytes(found, bytes);
    });
    if (changed !== undefined) throw inUse(changed.device.name);
  }
}

export function inUse(name: string): CopiesError {
  return new CopiesError("in-use", name, "is in use by another host; unmount it there first");
}

/** What lies where the copies that begin on a device have their heartbeats. */
async function beatsOn(device: BlockDevice): Promise<Beat[]> {
  let header: NodeHeader;
  try {
    header = await readNodeHeader(device);
  } catch (error) {
    // No volume that could be mounted.
    if (error instanceof CopiesError) return [];
    throw error;
  }
  const first = header.ranges.filter(({ nodePosition }) => nodePosition === 0);
  return Promise.all(first.map(({ startKib }) => beatAt(device, startKib * KIB + HEARTBEAT_OFFSET_BYTES)));
}

async function beatAt(device: BlockDevice, offsetBytes: number): Promise<Beat> {
  const bytes = new Uint8Array(HEARTBEAT_BYTES);
  await device.read(offsetBytes, [bytes]);
  return { device, offsetBytes, bytes };
}
