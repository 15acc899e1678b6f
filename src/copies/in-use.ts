// Whether another host has what lies on a device mounted, asked before a device that is not locked here is given to something else. What
// it holds may be given up, never what is in use (I11): its owner would notice nothing, go on, and have nothing left after its unmount.
// A free device costs a look at its header and one at each heartbeat; one that is there is watched for a lease, as at a mount. It lies
// on the first node of a copy: of a later node of a row nothing tells.

import { equalBytes, isZero } from "../base/uuid.ts";
import { type BlockDevice, DeviceError } from "../device/device.ts";
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
  const look = async (): Promise<Beat[]> => (await inTime(Promise.all(reached.map(beatsOn)))).flat();
  const before = await look();
  if (before.every(({ bytes }) => isZero(bytes))) return;
  for (let beat = 0; beat < BEATS_PER_LEASE; beat++) {
    await wait(leaseMs / BEATS_PER_LEASE);
    // All of them: one that was free may be taken meanwhile. One that is given free is nobody's from then on.
    for (const { device, offsetBytes, bytes } of await look()) {
      const known = before.find((other) => other.device === device && other.offsetBytes === offsetBytes);
      if (!isZero(bytes) && (known === undefined || !equalBytes(known.bytes, bytes))) throw inUse(device.name);
    }
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
    if (!(error instanceof CopiesError)) throw error;
    if (error.cause instanceof DeviceError) throw error.cause;
    // No volume that could be mounted.
    return [];
  }
  const first = header.ranges.filter(({ nodePosition }) => nodePosition === 0);
  return Promise.all(first.map(({ startKib }) => beatAt(device, startKib * KIB + HEARTBEAT_OFFSET_BYTES)));
}

async function beatAt(device: BlockDevice, offsetBytes: number): Promise<Beat> {
  const bytes = new Uint8Array(HEARTBEAT_BYTES);
  await device.read(offsetBytes, [bytes]);
  return { device, offsetBytes, bytes };
}
