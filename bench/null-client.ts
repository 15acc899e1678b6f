// A program on the null filesystem: prints, as JSON, microseconds per lookup of a missing name and MB/s of large reads and writes.

import { closeSync, openSync, readSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";

const LOOKUPS = 20_000;
const CHUNK_BYTES = 1 << 20;
const CHUNKS = 512;

const directory = process.argv[2];
if (directory === undefined) throw new Error("usage: null-client DIR");
/** Different names and places every time: what the kernel has seen, it does not ask for again. */
const run = process.hrtime.bigint();

let names = 0;

function lookupUs(directory: string): number {
  const start = performance.now();
  for (let index = 0; index < LOOKUPS; index++) {
    statSync(`${directory}/missing-${run}-${names++}`, { throwIfNoEntry: false });
  }
  return ((performance.now() - start) * 1000) / LOOKUPS;
}

function megabytesPerSecond(move: (fd: number, chunk: Buffer, position: number) => void, flags: string): number {
  const chunk = Buffer.alloc(CHUNK_BYTES);
  const fd = openSync(join(directory as string, "zeroes"), flags);
  const base = Number(run % 100_000n) * CHUNK_BYTES;
  const start = performance.now();
  for (let index = 0; index < CHUNKS; index++) move(fd, chunk, base + index * CHUNK_BYTES);
  closeSync(fd);
  return (CHUNKS * CHUNK_BYTES) / 1000 / (performance.now() - start);
}

const read = megabytesPerSecond((fd, chunk, position) => void readSync(fd, chunk, 0, CHUNK_BYTES, position), "r");
const write = megabytesPerSecond((fd, chunk, position) => void writeSync(fd, chunk, 0, CHUNK_BYTES, position), "r+");
lookupUs(directory);
process.stdout.write(JSON.stringify({ lookupUs: lookupUs(directory), readMBps: read, writeMBps: write }));
