// Copies on simulated devices for the tests of src/copies.

import { SeededRandom } from "../../src/base/random.ts";
import { randomUuid } from "../../src/base/uuid.ts";
import { assembleCopies } from "../../src/copies/assemble.ts";
import type { BlockRead } from "../../src/copies/block-io.ts";
import type { CopySet } from "../../src/copies/copy-set.ts";
import { formatCopies } from "../../src/copies/layout.ts";
import { newRings, type RingSet } from "../../src/copies/ring.ts";
import { SimulatedDevice, type SimulatedDeviceOptions } from "../../src/device/simulated.ts";
import { type CheckType, writeCheck } from "../../src/format/check.ts";
import { COPIES_MAX, COPY_MIN_BYTES } from "../../src/format/geometry.ts";
import { createRootImage } from "../../src/format/root-create.ts";
import { setRootSequence } from "../../src/format/root-history.ts";
import { setRootLastSeen } from "../../src/format/root-members.ts";

export const HEADER_BYTES = 65536;
/** First KiB of a copy that a block may use, rounded up for any block. */
export const FIRST_KIB = 256;

export interface Scene {
  readonly devices: readonly SimulatedDevice[];
  readonly copies: CopySet;
  readonly volumeUuid: Uint8Array;
}

/** As many copies as sizes, each on a device of its own with 64 KiB for the header in front. */
export async function scene(copyCount: number, options: SimulatedDeviceOptions = {}, seed = 1): Promise<Scene> {
  const random = new SeededRandom(seed);
  const volumeUuid = randomUuid(random);
  const devices = Array.from(
    { length: copyCount },
    (_, i) => new SimulatedDevice(`${"abcdefgh"[i]}.img`, COPY_MIN_BYTES + HEADER_BYTES + i * 65536 * 3, options),
  );
  const targets = devices.map((device) => ({ name: device.name, devices: [device], copies: 1 }));
  return { devices, copies: await formatCopies(targets, { volumeUuid, label: "scene", random }), volumeUuid };
}

/** The same devices, or what is left of them, put together again. */
export function reassemble(devices: readonly SimulatedDevice[], readOnly = false): Promise<CopySet> {
  return assembleCopies(
    devices.map((device) => ({ name: device.name, devices: [device] })),
    { readOnly },
  );
}

/** Pointers of the block at `kib` on each of the first copies, 0 for none. */
export function pointers(...kib: number[]): number[] {
  return [...kib, ...new Array<number>(COPIES_MAX - kib.length).fill(0)];
}

/** A read that expects exactly `bytes`. */
export function readOf(
  bytes: Uint8Array,
  at: readonly number[],
  metadata = false,
  checkType: CheckType = 1,
): BlockRead {
  const check = new Uint8Array(32);
  writeCheck(checkType, bytes, new DataView(check.buffer), 0);
  return { pointers: at, checkType, check, target: new Uint8Array(bytes.length).fill(0xcc), metadata };
}

/** Overwrites bytes of a copy behind its back. */
export async function spoil(device: SimulatedDevice, kib: number, lengthBytes = 512): Promise<void> {
  await device.write(HEADER_BYTES + kib * 1024, [new Uint8Array(lengthBytes).fill(0xdb)]);
}

/** A root image for the copies of a scene. */
export function rootImage(
  { copies, volumeUuid }: Scene,
  checkType: CheckType = 1,
): { bytes: Uint8Array; view: DataView } {
  const epoch = new Uint8Array(16).fill(0xe0);
  const bytes = createRootImage({
    volumeUuid,
    label: "scene",
    epoch,
    copyCount: copies.copies.length,
    minCopies: 1,
    checkType,
  });
  const view = new DataView(bytes.buffer);
  for (const copy of copies.copies) {
    const { index, uuid, sizeKib, name } = copy;
    setRootLastSeen(view, index, {
      copyUuid: uuid,
      epoch,
      version: new Uint8Array(16),
      sequence: 0,
      sizeKib,
      target: name,
    });
  }
  return { bytes, view };
}

/** Writes roots 1 … `count` as mkfs and commits do, flushing before and after each. */
export async function writeRoots(of: Scene, count: number, image = rootImage(of)): Promise<RingSet> {
  const rings = await newRings(of.copies, new SeededRandom(5));
  for (let sequence = 1; sequence <= count; sequence++) await writeRoot(rings, image, sequence);
  return rings;
}

export async function writeRoot(
  rings: RingSet,
  image: { bytes: Uint8Array; view: DataView },
  sequence: number,
): Promise<void> {
  setRootSequence(image.view, sequence);
  await rings.copies.flush();
  await rings.write(image.bytes);
  await rings.copies.flush();
}
