// Whether another host has what lies on a device mounted, asked before a device that is not locked here is given to something else. What
// it holds may be given up, never what is in use (I11): its owner would notice nothing, go on, and have nothing left after its unmount.
// A free device costs a look at its header and one at each heartbeat; one that is there is watched for a lease, as at a mount. It lies
// on the first node of a copy: a later node of a row without any of which it can be told is refused, and so is a format not known here,
// which may have it anywhere.

import { equalBytes, isZero, type Uuid } from "../base/uuid.ts";
import { type BlockDevice, DeviceError } from "../device/device.ts";
import { FORMAT_VERSION } from "../format/features.ts";
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
  /** True of a copy of the volume that this host has mounted. */
  readonly isOurs?: (copyUuid: Uuid) => boolean;
  /** Told which devices are watched, and for how long, before that begins. */
  readonly onWatch?: (names: readonly string[], durationMs: number) => void;
}

interface Held {
  readonly device: BlockDevice;
  /** Undefined where there is no volume that could be mounted. */
  readonly header: NodeHeader | undefined;
}

interface Beat {
  readonly device: BlockDevice;
  readonly offsetBytes: number;
  readonly bytes: Uint8Array;
}

/**
 * Rejects with CopiesError when another host uses one of these open devices, or when that can't be told; DeviceError when one can't be
 * read. Nothing is written.
 */
export async function refuseInUse(devices: readonly BlockDevice[], options: WatchOptions): Promise<void> {
  const { leaseMs = LEASE_MS_DEFAULT, wait, inTime = (look) => look, isOurs = () => false, onWatch } = options;
  if (devices.every(({ exclusive }) => exclusive)) return;
  const look = (): Promise<Beat[]> => inTime(beatsOn(devices, isOurs));
  const before = await look();
  const watched = before.filter(({ bytes }) => !isZero(bytes));
  if (watched.length === 0) return;
  onWatch?.([...new Set(watched.map(({ device }) => device.name))], leaseMs);
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

/** What lies where the copies that begin on these devices have their heartbeats, but on those that nobody else can open. */
async function beatsOn(devices: readonly BlockDevice[], isOurs: (copyUuid: Uuid) => boolean): Promise<Beat[]> {
  const all = await Promise.all(devices.map(headerOn));
  const reached = all.filter(({ device }) => !device.exclusive);
  for (const held of reached) refuseUntold(held, all, isOurs);
  const places = reached.flatMap(({ device, header }) =>
    (header?.ranges ?? [])
      .filter(({ nodePosition }) => nodePosition === 0)
      .map(({ startKib }) => beatAt(device, startKib * KIB + HEARTBEAT_OFFSET_BYTES)),
  );
  return Promise.all(places);
}

async function headerOn(device: BlockDevice): Promise<Held> {
  try {
    return { device, header: await readNodeHeader(device) };
  } catch (error) {
    if (!(error instanceof CopiesError)) throw error;
    if (error.cause instanceof DeviceError && !device.exclusive) throw error.cause;
    return { device, header: undefined };
  }
}

/** Throws CopiesError when nothing on these devices tells whether a copy that is on this one is in use. */
function refuseUntold({ device, header }: Held, all: readonly Held[], isOurs: (copyUuid: Uuid) => boolean): void {
  if (header === undefined) return;
  const wipe = "where nobody does for sure, wipe its first 64 KiB";
  if (header.formatVersion !== FORMAT_VERSION) {
    const what = `holds a volume of format version ${header.formatVersion}: whether another host uses it can't be told here`;
    throw new CopiesError("unsupported", device.name, `${what}; use a newer h2ts, or, ${wipe}`);
  }
  // Of a row of which another node is locked here nobody else has the whole.
  const isTold = (copyUuid: Uuid): boolean =>
    all.some(({ device: { exclusive }, header: other }) =>
      other?.ranges.some((range) => equalBytes(range.copyUuid, copyUuid) && (exclusive || range.nodePosition === 0)),
    );
  const untold = header.ranges.find(({ copyUuid }) => !isOurs(copyUuid) && !isTold(copyUuid));
  if (untold === undefined) return;
  const what = `is node ${untold.nodePosition} of a row: only its first node tells whether another host uses it`;
  throw new CopiesError("occupied", device.name, `${what}; give that as well, or, ${wipe}`);
}

async function beatAt(device: BlockDevice, offsetBytes: number): Promise<Beat> {
  const bytes = new Uint8Array(HEARTBEAT_BYTES);
  await device.read(offsetBytes, [bytes]);
  return { device, offsetBytes, bytes };
}
