// Errors of plain system calls made through koffi, with the errno's own name and words.

import { getSystemErrorName } from "node:util";
import koffi from "koffi";

export interface SystemError extends Error {
  readonly code: string;
}

/** The failure of the system call made just now: `what` names the call and its object. */
export function systemError(what: string): SystemError {
  const code = getSystemErrorName(-koffi.errno());
  return Object.assign(new Error(`${what}: ${code}`), { code });
}
