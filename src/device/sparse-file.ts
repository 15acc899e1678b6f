// Zeroing and holes of an open file or block device, by what the system offers for it.

import { write } from "node:fs";
import type { DeviceExtent } from "./device.ts";
import { writeZeros } from "./sparse.ts";
import { seekFor, zeroByMarking } from "./system-calls.ts";

/** What fallocate answers where a filesystem or device has no such thing. */
const UNSUPPORTED: ReadonlySet<string> = new Set(["EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EINVAL", "ENODEV"]);

/** Makes a range read as zero: marked where the system can, else written. Rejects with the system's error. */
export async function zeroFile(fd: number, offsetBytes: number, lengthBytes: number, keepRoom: boolean): Promise<void> {
  if (lengthBytes === 0) return;
  const refusal = await zeroByMarking(fd, offsetBytes, lengthBytes, keepRoom);
  if (refusal === undefined) return;
  if (!UNSUPPORTED.has(refusal)) throw Object.assign(new Error(`fallocate: ${refusal}`), { code: refusal });
  await writeZeros(offsetBytes, lengthBytes, async (at, zeros) => {
    for (let done = 0; done < zeros.length; ) done += await written(fd, zeros.subarray(done), at + done);
  });
}

function written(fd: number, bytes: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) =>
    write(fd, bytes, 0, bytes.length, position, (error, count) => {
      if (error !== null) reject(error);
      else if (count === 0) reject(Object.assign(new Error("nothing was written"), { code: "EIO" }));
      else resolve(count);
    }),
  );
}

/** Data and holes of a range, `countMax` stretches at most. All is data where the system does not say. */
export async function fileExtents(
  fd: number,
  offsetBytes: number,
  lengthBytes: number,
  countMax: number,
): Promise<DeviceExtent[]> {
  const end = offsetBytes + lengthBytes;
  const extents: DeviceExtent[] = [];
  try {
    for (let at = offsetBytes; at < end && extents.length < countMax; ) {
      const dataAt = Math.min((await seekFor("data", fd, at)) ?? end, end);
      const isHole = dataAt > at;
      const next = isHole ? dataAt : Math.min((await seekFor("hole", fd, at)) ?? end, end);
      // Holes may be filled between two calls; a stretch is never empty.
      if (next <= at) break;
      extents.push({ lengthBytes: next - at, isHole });
      at = next;
    }
  } catch (error) {
    if (!UNSUPPORTED.has((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
  return extents.length === 0 && lengthBytes > 0 ? [{ lengthBytes, isHole: false }] : extents;
}
