// Memory of an ArrayBuffer given back at once. The collector does not see how much stands behind small objects and lets
// hundreds of megabytes wait for it; and Node 20 has no ArrayBuffer.prototype.transfer.

import type { MessagePort } from "node:worker_threads";
import { loadKoffi } from "./koffi.ts";

/** As far as it is needed here: Node's types lack it. */
declare const WebAssembly: { Memory: new (size: { initial: number }) => { grow(pages: number): number } };

/** So much given back between two times of tidying up, which take some tens of milliseconds each. */
const TIDY_AFTER_BYTES = 16 * 1024 * 1024;
/** From so many bytes on, what is allocated is mapped by itself (mallopt(3)): its pages go as soon as it is freed. */
const MAPPED_BYTES_MIN = Number(process.env["MALLOC_MMAP_THRESHOLD_"] ?? Infinity);
/** What is left even then of the objects that stood for it. */
const LEFT_BYTES = 1024;

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

/**
 * To be called before there is much code: V8 compiles it as if no ArrayBuffer were ever detached, until one is, and then throws all
 * of it away. A memory of WebAssembly that grows is the simplest way to have one.
 */
export function expectDetaching(): void {
  new WebAssembly.Memory({ initial: 0 }).grow(1);
}

/** Detaches `memory`: every view of it has length 0 from now on. */
export function freeAtOnce(memory: ArrayBuffer): void {
  untidyBytes += memory.byteLength < MAPPED_BYTES_MIN ? memory.byteLength : LEFT_BYTES;
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
  const koffi = loadKoffi();
  try {
    return koffi.load(null).func("int malloc_trim(size_t padBytes)");
  } catch {
    return () => 0;
  }
}
