// Opens a volume that is to be changed without a mount. With too few complete copies for that it opens all the same, but can only
// be read; then nothing is done to it, rather than below the number of copies that it needs (I2).

import type { CopySet } from "../src/copies/copy-set.ts";
import { type OpenOptions, openVolume } from "../src/volume/open.ts";
import type { Volume } from "../src/volume/volume.ts";

/** As openVolume; throws FsError EROFS, with the reason, for a volume that can only be read. */
export async function openWritable(copies: CopySet, options: OpenOptions): Promise<Volume> {
  const volume = await openVolume(copies, options);
  try {
    volume.refuseReadOnly();
  } catch (error) {
    await volume.close();
    throw error;
  }
  return volume;
}
