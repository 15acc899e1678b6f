// Image files before anything is on them. They are sparse, so that takes no room yet.

import { closeSync, openSync, rmSync, truncateSync } from "node:fs";
import { OpenError } from "./open-error.ts";

const CLEAR: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EEXIST: "exists already",
  EROFS: "is on a read-only filesystem",
};

/** Makes an image; leaves none behind when it can't have that size. Throws OpenError; EEXIST is the code of one that is there already. */
export function createImage(path: string, sizeBytes: number): void {
  naming(path, () => closeSync(openSync(path, "wx", 0o600)), CLEAR);
  try {
    const clear = { ...CLEAR, EFBIG: `its filesystem has no files of ${sizeBytes} bytes` };
    naming(path, () => truncateSync(path, sizeBytes), clear);
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/** The system's own words do not say which file. */
function naming(path: string, call: () => void, clear: Readonly<Record<string, string>>): void {
  try {
    call();
  } catch (error) {
    const { code = "EIO", message } = error as NodeJS.ErrnoException;
    throw new OpenError(path, "open", code, clear[code] ?? message);
  }
}
