// What is said, everywhere, of a bitmap that can't be used: by it nothing is given out, so nothing can be written (I3), but all can be
// read.

import { FsError } from "../base/errno.ts";
import { UnreadableError } from "../copies/errors.ts";

/**
 * A bitmap that can't be read or breaks the rules. A copy that does not answer just now may have it, so whoever takes over waits for that
 * as for any block.
 */
export class FreemapFault extends UnreadableError {
  /** It was read before, and could not be then either. */
  isRepeated = false;

  constructor(copy: number, detail: string) {
    super(`the freemap of copy ${copy} is damaged; run fsck.h2ts -y (${detail})`);
  }
}

/** Runs `body`, which looks into the bitmap of `copy`; what keeps it from that becomes a FreemapFault. MISS is passed on. */
export function lookingInto<T>(copy: number, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof FreemapFault || !(error instanceof FsError) || error.code !== "EIO") throw error;
    throw new FreemapFault(copy, error.message);
  }
}
