// What becomes of what a program prints. A write that fails never ends what the program does: a mount, a format, a repair go on to
// their end, and only then is it said. That whoever reads has had enough, as head has, is no failure at all; only one
// that is there to print for ever ends.

import { fstatSync, writeSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";
import { getSystemErrorMap } from "node:util";

let isRead = true;
let failure: string | undefined;

/** For every program, before it prints. */
export function surviveOutputErrors(): void {
  process.stderr.on("error", () => {});
  process.stdout.on("error", ({ code, errno, message }: NodeJS.ErrnoException) => {
    isRead = false;
    if (code !== "EPIPE") failure ??= `write error: ${getSystemErrorMap().get(errno ?? 0)?.[1] ?? message}`;
  });
  if (isFile(process.stdout.fd)) process.stdout._write = writeWhole;
}

function isFile(fd: number): boolean {
  try {
    return fstatSync(fd).isFile();
  } catch {
    return false;
  }
}

/** To a file Node writes once, and counts what the disk had no room for as written. */
function writeWhole(chunk: Uint8Array, _encoding: BufferEncoding, done: (error?: Error) => void): void {
  try {
    for (let at = 0; at < chunk.length; ) at += writeSync(process.stdout.fd, chunk, at);
  } catch (error) {
    done(error as Error);
    return;
  }
  done();
}

/** False once what is printed to stdout reaches nobody any more, which shows only when something was printed. */
export const outputIsRead = (): boolean => isRead;

/** Resolves when all that was printed to `stream` is out, or nobody reads it, or it can't be written. */
export async function drained(stream: NodeJS.WriteStream): Promise<void> {
  // With nothing under way nothing is written: even that fails where there is no room.
  if (stream.writableLength > 0) {
    await new Promise<void>((resolve) => {
      stream.once("error", () => resolve());
      stream.write("", () => resolve());
    });
  }
  // A write that failed at once is told of a little later.
  await turn();
}

/** Why what was printed to stdout, which is out when this resolves, could not be written; undefined when it could. */
export async function outputFailure(): Promise<string | undefined> {
  await drained(process.stdout);
  return failure;
}
