// Blocks that a check remembers, read once more: right before something is given up (I5: a block that can't be read just now is not lost),
// and before and after one is written anew.

import { FsError } from "../src/base/errno.ts";
import type { CopySet } from "../src/copies/copy-set.ts";
import type { Finding } from "./finding-list.ts";
import type { PlacedBlock } from "./repair-plan.ts";

/**
 * Throws FsError when a copy gives a block after all that is to be given up: it could only not be read for a while. Everything is
 * looked at again then.
 */
export async function refuseFound(copies: CopySet, findings: readonly Finding[]): Promise<void> {
  for (const { message, repair } of findings) {
    if (repair?.kind !== "bruise" || repair.givesUp === undefined) continue;
    const isFound = await readBlock(copies, repair.givesUp).then(
      () => true,
      () => false,
    );
    if (isFound) throw new FsError("EAGAIN", `${message}, and now one does: nothing is given up; check again`);
  }
}

/** The bytes of a block, from any copy that has them. Throws what is wrong with it when none does. */
export async function readBlock(copies: CopySet, block: PlacedBlock): Promise<Uint8Array> {
  const { pointers, checkType, check, metadata, sizeBytes } = block;
  const request = { pointers, checkType, check, metadata, target: new Uint8Array(sizeBytes) };
  await copies.whenRead(copies.readBlocks([request]));
  if ("error" in request) throw request.error as Error;
  return request.target;
}
