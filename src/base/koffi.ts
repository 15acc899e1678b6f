// Calls to the C library, for what runs in programs that mostly get by without: koffi is loaded at the first use, not before.

import { createRequire } from "node:module";

export interface NativeFunction {
  (...args: unknown[]): number;
  async(...args: unknown[]): void;
}

/** As far as it is needed. */
export interface Koffi {
  load(path: string | null): { func(declaration: string): NativeFunction };
  errno(): number;
}

/** From the second time on it is a look-up. */
export function loadKoffi(): Koffi {
  return createRequire(import.meta.url)("koffi") as Koffi;
}
