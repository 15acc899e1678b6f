// Memory of an ArrayBuffer given back at once. The collector does not see how much stands behind small objects and lets
// hundreds of megabytes wait for it; and Node 20 has no ArrayBuffer.prototype.transfer.

import { createRequire } from "node:module";
import type { MessagePort } from "node:worker_threads";

interface Koffi {
  load(path: string | null): { func(declaration: string): (padBytes: number) => number };
}

/** So much given back between two times of tidying up, which take some tens of milliseconds each. */
const TIDY_AFTER_BYTES = 16 * 1024 * 1024;

/** What is transferred to a port that is closed is freed: there is nobody to receive it. */
function closedPort(): MessagePort {
  const { port1 } = new MessageChannel();
  port1.close();
  return port1;
}

/** Made when it is first needed: loading what ports need takes a starting worker a tenth of its time. */
let nowhere: MessagePort | undefined;
let untidyBytes = 0;
let trim: ((padBytes: number) => number) | undefined;

/** Detaches `memory`: every view of it has length 0 from now on. */
export function freeAtOnce(memory: ArrayBuffer): void {
  untidyBytes += memory.byteLength;
  nowhere ??= closedPort();
  nowhere.postMessage(null, [memory]);
  if (untidyBytes < TIDY_AFTER_BYTES) return;
  untidyBytes = 0;
  tidyUp();
}

/**
 * Gives back what nothing refers to any more; takes some tens of milliseconds. Objects that stood for what was freed lie between pieces
 * in use, so that no page of theirs is free before they go.
 */
export function tidyUp(): void {
  // Only where the process was started with --expose-gc.
  globalThis.gc?.();
  trim ??= mallocTrim();
  trim(0);
}

/** glibc keeps the free pages between pieces that are still in use unless it is told; other C libraries have no such call. */
function mallocTrim(): (padBytes: number) => number {
  const koffi = createRequire(import.meta.url)("koffi") as Koffi;
  try {
    return koffi.load(null).func("int malloc_trim(size_t padBytes)");
  } catch {
    return () => 0;
  }
}
