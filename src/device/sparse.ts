// Zeroing a range and finding holes on any device: by its own means where it has them, else by the contract alone.

import type { BlockDevice, DeviceExtent } from "./device.ts";

const ZEROS = new Uint8Array(1024 * 1024);

/** Makes a range read as zero. `keepRoom`: it keeps its room on the medium, so that writing there never runs out of it. */
export async function zeroRange(
  device: BlockDevice,
  offsetBytes: number,
  lengthBytes: number,
  keepRoom: boolean,
): Promise<void> {
  if (device.zero !== undefined) return device.zero(offsetBytes, lengthBytes, keepRoom);
  await writeZeros(offsetBytes, lengthBytes, (at, zeros) => device.write(at, [zeros]));
}

/** Writes zeros piece by piece. */
export async function writeZeros(
  offsetBytes: number,
  lengthBytes: number,
  write: (offsetBytes: number, zeros: Uint8Array) => Promise<void>,
): Promise<void> {
  for (let done = 0; done < lengthBytes; ) {
    const zeros = ZEROS.subarray(0, lengthBytes - done);
    await write(offsetBytes + done, zeros);
    done += zeros.length;
  }
}

/**
 * Where the data of a range is, from its beginning: at most `countMax` (≥ 1) stretches, which may end before the range does. What
 * is not known to be a hole is data.
 */
export async function extentsOf(
  device: Pick<BlockDevice, "extents">,
  offsetBytes: number,
  lengthBytes: number,
  countMax: number,
): Promise<DeviceExtent[]> {
  if (device.extents !== undefined) return device.extents(offsetBytes, lengthBytes, countMax);
  return [{ lengthBytes, isHole: false }];
}
