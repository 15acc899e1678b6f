// Error numbers of replies to and from the names the system gives errors (EIO, ENOSPC, …), which is what DeviceError has.

import { WireError } from "./constants.ts";

const NUMBERS: ReadonlyMap<string, number> = new Map(Object.entries(WireError));
const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(WireError).map(([name, number]) => [number, name]));

/** What other errors come nearest to; whatever is not here is EIO. */
const NEAREST: Readonly<Record<string, number>> = {
  EACCES: WireError.EPERM,
  EROFS: WireError.EPERM,
  EFBIG: WireError.ENOSPC,
  EDQUOT: WireError.ENOSPC,
  EOPNOTSUPP: WireError.ENOTSUP,
};

/** The number to send for an error of the system. */
export function wireErrorOf(code: string): number {
  return NUMBERS.get(code) ?? NEAREST[code] ?? WireError.EIO;
}

/** The system's name for a number received; one that no server may send is EINVAL, as the protocol says. */
export function errorNameOf(wireError: number): string {
  return NAMES.get(wireError) ?? "EINVAL";
}
